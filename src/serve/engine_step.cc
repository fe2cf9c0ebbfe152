// The engine's thread: who takes part in a step, the forward pass, and what becomes of its rows.
// Shape letters: T rows of the batch, S rows that are sampled, D width, V vocabulary.

#include <algorithm>

#include "base/error.h"
#include "serve/engine.h"
#include "serve/sequence.h"

namespace conclave::serve {
namespace {

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace

void Engine::loop() {
  while (wait_for_work()) {
    resume();
    std::vector<SequencePtr> ended;
    take_from_queue(ended);
    remove_ended();
    if (running_.empty()) continue;
    try {
      step();
    } catch (const std::exception& error) {
      fail_running(error.what());
    }
    remove_ended();
  }
}

// False: the engine is being destroyed and nothing is left.
bool Engine::wait_for_work() {
  std::unique_lock lock(mutex_);
  // A sequence that is queued while nothing runs starts at once, so an idle engine may sleep.
  const auto work = [this] { return !queue_.empty() || !running_.empty() || !set_aside_.empty(); };
  wake_.wait(lock, [&] { return stopping_ || woken_ || work(); });
  woken_ = false;
  return !stopping_ || work();
}

void Engine::start(SequencePtr sequence) {
  if (sequence->request.max_tokens == 0 && sequence->request.pooling == Pooling::kNone) {
    finish(*sequence, EndReason::kLength);
    return;
  }
  const std::int64_t longest = sequence->size() + sequence->request.max_tokens;
  sequence->cache = std::make_unique<nn::KvCache>(pool_, longest);
  running_.push_back(std::move(sequence));
}

void Engine::remove_ended() {
  const Clock::time_point now = Clock::now();
  const auto end_overdue = [&](const SequencePtr& sequence) {
    if (sequence->ended) return;
    const EndReason reason = end_all_ ? EndReason::kShutdown : sequence->overdue(now);
    if (reason != EndReason::kNone) finish(*sequence, reason);
  };
  std::for_each(running_.begin(), running_.end(), end_overdue);
  std::for_each(set_aside_.begin(), set_aside_.end(), end_overdue);
  std::erase_if(set_aside_, [](const SequencePtr& sequence) { return sequence->ended; });
  const std::size_t ended = std::erase_if(running_, [&](const SequencePtr& sequence) {
    if (sequence->ended) keep_ended(*sequence);
    return sequence->ended;
  });
  if (ended > 0) held_pages_ = -1;
  const std::int64_t held = held_pages();
  const std::lock_guard lock(mutex_);
  status_.kv_bytes = held * pool_->page_bytes();
  status_.kept_bytes = (pool_->used_pages() - held) * pool_->page_bytes();
  status_.set_aside = static_cast<std::int64_t>(set_aside_.size());
}

void Engine::keep_ended(Sequence& s) {
  std::vector<std::int32_t> computed(s.tokens.begin(), s.tokens.begin() + s.computed);
  prefixes_.keep(s.request.client, std::move(computed), std::move(s.cache));
}

// One row of every answer; then the prompts share `prefill_chunk` rows equally, so that a short
// prompt does not wait for a long one. The oldest always gets one: it ends, whoever comes.
void Engine::plan_rows() {
  std::vector<Sequence*> prompts;
  for (const SequencePtr& sequence : running_) {
    sequence->rows = sequence->writing() ? 1 : 0;
    if (sequence->writing()) continue;
    if (sequence->computed > 0 || reuse(*sequence)) prompts.push_back(sequence.get());
  }
  std::int64_t budget = limits_.prefill_chunk;
  auto waiting = static_cast<std::int64_t>(prompts.size());
  if (!prompts.empty()) prompts.front()->rows = 1, --budget;
  std::stable_sort(prompts.begin(), prompts.end(), [](const Sequence* a, const Sequence* b) {
    return a->pending() < b->pending();
  });
  for (Sequence* sequence : prompts) {
    const std::int64_t share = std::max<std::int64_t>(1, budget / waiting--);
    const std::int64_t more = std::min({share, sequence->pending() - sequence->rows, budget});
    sequence->rows += more;
    budget -= more;
  }
}

void Engine::build_batch(nn::Batch& batch) {
  plan_rows();
  take_pages();
  ids_T_.clear();
  rows_.clear();
  prompt_rows_ = reused_rows_ = 0;
  for (const SequencePtr& sequence : running_) {
    Sequence& s = *sequence;
    if (s.rows == 0) continue;
    const auto begin = static_cast<std::int64_t>(ids_T_.size());
    const auto first = s.tokens.begin() + s.computed;
    ids_T_.insert(ids_T_.end(), first, first + s.rows);
    batch.chunks.push_back({s.cache.get(), begin, s.rows, s.computed});
    const std::int64_t end = s.computed + s.rows;
    if (s.furthest == 0) reused_rows_ += s.reused;
    const std::int64_t new_from = std::max(s.computed, s.furthest);
    const auto prompt = static_cast<std::int64_t>(s.request.prompt.size());
    prompt_rows_ += std::max<std::int64_t>(0, std::min(end, prompt) - new_from);
    s.computed = end;
    s.furthest = std::max(s.furthest, end);
    if (s.pending() == 0) rows_.emplace_back(&s, begin + s.rows - 1);
  }
  batch.ids_T = ids_T_;
}

void Engine::record_routing(int layer, const moe::RoutingDecision& decision) {
  {
    const std::lock_guard lock(statistics_mutex_);
    const Clock::time_point begin = Clock::now();
    history_.add(layer, decision);
    routing_seconds_ += seconds_since(begin);
  }
  if (decision.n_experts < 2) return;
  for (const Row& row : rows_) {
    if (!row.sequence->request.routing) continue;
    TokenRouting& routing = row.sequence->routing;
    const auto begin = row.index * decision.k;
    for (std::int64_t slot = begin; slot < begin + decision.k; ++slot) {
      const auto i = static_cast<std::size_t>(slot);
      routing.experts.push_back(decision.topk_ids_TK[i]);
      routing.weights.push_back(decision.topk_weights_TK[i]);
    }
  }
}

void Engine::step() {
  const Clock::time_point begin = Clock::now();
  nn::Batch batch;
  build_batch(batch);
  if (batch.n_tokens() == 0) return;
  {
    const std::lock_guard lock(statistics_mutex_);
    const Clock::time_point now = Clock::now();
    history_.advance(now);
    routing_seconds_ += seconds_since(now);
  }
  nn::ForwardOptions options;
  options.observer = [this](int layer, const moe::RoutingDecision& decision,
                            const moe::DispatchPlan&) { record_routing(layer, decision); };
  model_.transformer->forward(context_, batch, options, activations_);
  pool_rows(batch);
  sample_rows();
  for (Row& row : rows_) {
    if (!row.error.empty()) {
      finish(*row.sequence, EndReason::kFailed, row.error);
      continue;
    }
    advance(row);
  }
  const std::lock_guard lock(mutex_);
  ++status_.steps;
  status_.step_seconds += seconds_since(begin);
  status_.routing_seconds = routing_seconds_;
  status_.prompt_tokens += prompt_rows_;
  status_.reused_tokens += reused_rows_;
}

void Engine::sample_rows() {
  const auto n = static_cast<std::int64_t>(rows_.size());
  if (n == 0) return;
  const MatrixView<float> from = activations_.out.view();
  const MatrixView<float> hidden = hidden_.resize(n, from.cols);
  for (std::int64_t i = 0; i < n; ++i) {
    const float* row = from.data + rows_[static_cast<std::size_t>(i)].index * from.stride;
    std::copy(row, row + from.cols, hidden.data + i * hidden.stride);
  }
  const std::int64_t vocab = model_.transformer->config().vocab_size;
  const MatrixView<float> logits = logits_.resize(n, vocab);
  model_.transformer->logits(context_, hidden, logits);
  context_.pool.parallel_tasks(n, [&](std::int64_t task) {
    Row& row = rows_[static_cast<std::size_t>(task)];
    Sequence& s = *row.sequence;
    const std::span<const float> values(logits.data + task * logits.stride,
                                        static_cast<std::size_t>(vocab));
    try {
      const auto mask = s.constraint ? s.constraint->mask() : nullptr;
      row.id = infer::sample(values, s.request.sampling, s.tokens,
                             static_cast<std::uint64_t>(s.generated()), mask.get());
      const bool ends = mask && s.request.constraint->tokens().is_end(row.id);
      if (s.constraint && !ends) s.constraint->accept(row.id);
      if (s.request.logprobs >= 0) {
        row.logprobs = infer::log_probabilities(values, row.id, s.request.logprobs);
      }
    } catch (const std::exception& error) {
      row.error = error.what();
    }
  });
}

}  // namespace conclave::serve
