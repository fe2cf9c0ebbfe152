// The engine's two doors: requests come in on any thread, and its own thread takes them.

#include "serve/engine.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "serve/sequence.h"

namespace conclave::serve {

Engine::Engine(ops::Context& context, models::LoadedModel& model, const EngineLimits& limits)
    : context_(context),
      model_(model),
      limits_(limits),
      history_(static_cast<std::size_t>(model.transformer->config().n_layers), Clock::now()),
      pool_(model.transformer->new_kv_pool()),
      most_pages_(limits.kv_bytes / pool_->page_bytes()) {
  if (!model.tokenizer) {
    fail(ErrorKind::kNotFound, "the model has no tokenizer, so it cannot be served");
  }
  const nn::TransformerConfig& config = model_.transformer->config();
  context_limit_ =
      limits.context > 0 ? std::min(limits.context, config.max_positions) : config.max_positions;
  status_.first_token_counts.resize(std::size(kFirstTokenBounds) + 1);
  thread_ = std::thread([this] { loop(); });
}

Engine::~Engine() { stop(); }

void Engine::stop() {
  {
    const std::lock_guard lock(mutex_);
    accepting_ = false;
    stopping_ = true;
    end_all_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

std::int64_t Engine::cache_bytes(const SequenceRequest& request) const {
  return model_.transformer->cache_bytes(static_cast<std::int64_t>(request.prompt.size()) +
                                         request.max_tokens);
}

void Engine::check(const SequenceRequest& request) const {
  infer::validate(request.sampling);
  if (request.constraint && request.ignore_eos) {
    fail(ErrorKind::kInvalidArgument,
         "ignore_eos: an answer that is held to a grammar or schema ends where that ends");
  }
  const auto prompt = static_cast<std::int64_t>(request.prompt.size());
  if (prompt == 0) fail(ErrorKind::kInvalidArgument, "the prompt has no tokens");
  if (request.max_tokens < 0 || prompt > context_limit_ - request.max_tokens) {
    fail(ErrorKind::kInvalidArgument,
         "the prompt has {} tokens and the answer up to {}, but the context is {}", prompt,
         request.max_tokens, context_limit_);
  }
  const int vocab = model_.transformer->config().vocab_size;
  for (const std::int32_t id : request.prompt) {
    if (id < 0 || id >= vocab) {
      fail(ErrorKind::kInvalidArgument, "token {}: the vocabulary has 0 to {}", id, vocab - 1);
    }
  }
  const auto& bias = request.sampling.logit_bias;
  if (!bias.empty() && (bias.begin()->first < 0 || bias.rbegin()->first >= vocab)) {
    fail(ErrorKind::kInvalidArgument, "logit bias of token {}: the vocabulary has 0 to {}",
         bias.begin()->first < 0 ? bias.begin()->first : bias.rbegin()->first, vocab - 1);
  }
  if (cache_bytes(request) > limits_.kv_bytes) {
    fail(ErrorKind::kInvalidArgument, "{} tokens take {} bytes of cache, the budget is {}",
         prompt + request.max_tokens, cache_bytes(request), limits_.kv_bytes);
  }
}

void Engine::wake() {
  {
    const std::lock_guard lock(mutex_);
    woken_ = true;
  }
  wake_.notify_one();
}

void Engine::stop_accepting() {
  const std::lock_guard lock(mutex_);
  accepting_ = false;
}

void Engine::end_all() {
  stop_accepting();
  end_all_ = true;
  wake();
}

bool Engine::idle() const {
  const std::lock_guard lock(mutex_);
  return status_.queued == 0 && status_.running == 0;
}

EngineStatus Engine::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

std::vector<moe::RoutingStatistics> Engine::routing() const {
  const std::lock_guard lock(statistics_mutex_);
  return history_.total();
}

RoutingHistory::Window Engine::routing_window(double seconds) const {
  const std::lock_guard lock(statistics_mutex_);
  return history_.window(seconds, Clock::now());
}

int Engine::retry_after() const {
  const std::lock_guard lock(mutex_);
  const double queue = static_cast<double>(status_.queued + 1);
  // Half of the queue: who comes back then finds room, and places do not stay empty.
  return static_cast<int>(std::clamp(std::ceil(seconds_per_sequence_ * queue / 2), 1.0, 60.0));
}

}  // namespace conclave::serve
