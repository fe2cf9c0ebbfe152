#include "infer/session.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "infer/stop_filter.h"
#include "sys/interrupt.h"

namespace conclave::infer {
namespace {

class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    return seconds;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

Session::Session(ops::Context& context, const std::string& directory,
                 const models::Precision& precision)
    : context_(context),
      directory_(directory),
      model_(models::load_model(context, directory, precision)) {
  routing_L_.resize(static_cast<std::size_t>(config().n_layers));
}

const text::Tokenizer& Session::tokenizer() const {
  if (!model_.tokenizer) {
    fail(ErrorKind::kNotFound, "{}: has no tokenizer, so it takes no text", directory_);
  }
  return *model_.tokenizer;
}

grammar::TokensPtr Session::grammar_tokens() {
  if (!grammar_tokens_) {
    grammar_tokens_ =
        std::make_shared<grammar::TokenTable>(tokenizer(), end_ids(), config().vocab_size);
  }
  return grammar_tokens_;
}

void Session::forward(nn::KvCache& cache, std::span<const std::int32_t> ids,
                      std::int64_t position) {
  nn::Batch batch;
  batch.ids_T = ids;
  batch.chunks.push_back({&cache, 0, static_cast<std::int64_t>(ids.size()), position});
  nn::ForwardOptions options;
  options.observer = [this](int layer, const moe::RoutingDecision& decision,
                            const moe::DispatchPlan&) {
    routing_L_[static_cast<std::size_t>(layer)].add(decision);
  };
  model_.transformer->forward(context_, batch, options, activations_);
}

FloatMatrix Session::logits(std::span<const std::int32_t> ids) {
  const auto cache = model_.transformer->new_cache(static_cast<std::int64_t>(ids.size()));
  forward(*cache, ids, 0);
  FloatMatrix result;
  const MatrixView<float> out =
      result.resize(static_cast<std::int64_t>(ids.size()), config().vocab_size);
  model_.transformer->logits(context_, activations_.out.view(), out);
  return result;
}

void Session::keep_context(std::int64_t tokens) {
  if (tokens < 1 || tokens > config().max_positions) {
    fail(ErrorKind::kInvalidArgument, "context of {} tokens: expected 1 to {}", tokens,
         config().max_positions);
  }
  kept_ = model_.transformer->new_cache(tokens);
  kept_ids_.clear();
}

// How much of a prompt the kept context holds. The last token is always computed: its logits say
// what comes next.
std::int64_t Session::reusable(std::span<const std::int32_t> prompt) const {
  const auto differs =
      std::mismatch(prompt.begin(), prompt.end(), kept_ids_.begin(), kept_ids_.end());
  const auto same = static_cast<std::int64_t>(differs.first - prompt.begin());
  return std::min(same, static_cast<std::int64_t>(prompt.size()) - 1);
}

void Session::prefill(nn::KvCache& cache, std::span<const std::int32_t> prompt,
                      std::int64_t position, std::int64_t chunk) {
  const auto end = static_cast<std::int64_t>(prompt.size());
  while (position < end) {
    sys::stop_if_interrupted("reading the prompt");
    const std::int64_t n = std::min(chunk, end - position);
    forward(cache, prompt.subspan(static_cast<std::size_t>(position), static_cast<std::size_t>(n)),
            position);
    position += n;
  }
}

Generation Session::generate(const std::string& prompt, const GenerateOptions& options,
                             const TextCallback& on_text) {
  std::vector<std::int32_t> ids = tokenizer().encode(prompt);
  if (ids.empty()) {  // the model needs something to go on from
    ids.push_back(config().bos_id >= 0 ? config().bos_id : std::max(0, config().eos_id));
  }
  return generate(ids, options, on_text);
}

Generation Session::generate(std::span<const std::int32_t> prompt, const GenerateOptions& options,
                             const TextCallback& on_text) {
  validate(options.sampling);
  const auto& bias = options.sampling.logit_bias;
  if (!bias.empty() && (bias.begin()->first < 0 || bias.rbegin()->first >= config().vocab_size)) {
    fail(ErrorKind::kInvalidArgument, "logit bias of token {}: expected 0 to {}",
         bias.begin()->first < 0 ? bias.begin()->first : bias.rbegin()->first,
         config().vocab_size - 1);
  }
  if (prompt.empty()) fail(ErrorKind::kInvalidArgument, "the prompt has no tokens");
  if (options.max_tokens < 0) {
    fail(ErrorKind::kInvalidArgument, "an answer of {} tokens: expected 0 or more",
         options.max_tokens);
  }
  if (options.constraint && options.ignore_eos) {
    fail(ErrorKind::kInvalidArgument, "an answer that is held to a grammar ends where it ends");
  }
  Generation result;
  result.prompt_tokens = static_cast<std::int64_t>(prompt.size());
  const std::int64_t limit = kept_ ? kept_->length_limit() : config().max_positions;
  const std::int64_t room = limit - result.prompt_tokens;
  if (room < 0) {
    fail(ErrorKind::kInvalidArgument, "the prompt has {} tokens, but the {} is {}",
         result.prompt_tokens, kept_ ? "context that is kept" : "model's context", limit);
  }
  const std::int64_t max_tokens = std::min(options.max_tokens, room);
  std::unique_ptr<nn::KvCache> own;
  if (kept_ == nullptr) {
    own = model_.transformer->new_cache(result.prompt_tokens + max_tokens);
  } else {
    result.reused_tokens = reusable(prompt);
  }
  nn::KvCache& cache = kept_ ? *kept_ : *own;
  std::vector<std::int32_t> context(prompt.begin(), prompt.end());
  if (kept_) kept_ids_.assign(prompt.begin(), prompt.begin() + result.reused_tokens);

  Stopwatch watch;
  prefill(cache, context, result.reused_tokens, std::max<std::int64_t>(1, options.prefill_chunk));
  if (kept_) kept_ids_ = context;
  result.prefill_seconds = watch.lap();

  std::int64_t position = result.prompt_tokens;
  text::StreamDecoder decoder(tokenizer(), /*skip_special=*/true);
  StopFilter filter(options.stop);
  std::optional<grammar::ConstraintState> constraint;
  if (options.constraint) constraint.emplace(options.constraint);
  std::vector<float> logits(static_cast<std::size_t>(config().vocab_size));
  const auto emit = [&](const std::string& piece) {
    result.text += piece;
    return piece.empty() || !on_text || on_text(piece);
  };
  while (static_cast<std::int64_t>(result.ids.size()) < max_tokens) {
    const MatrixView<float> hidden = activations_.out.view();
    model_.transformer->logits(context_, hidden.rows_range(hidden.rows - 1, 1),
                               MatrixView<float>(logits.data(), 1, config().vocab_size));
    const auto mask = constraint ? constraint->mask() : nullptr;
    const std::int32_t id =
        sample(logits, options.sampling, context, result.ids.size(), mask.get());
    const bool ends = std::find(end_ids().begin(), end_ids().end(), id) != end_ids().end();
    if (ends && !options.ignore_eos) {
      result.finish = FinishReason::kStop;
      break;
    }
    if (constraint) constraint->accept(id);
    result.ids.push_back(id);
    if (options.logprobs >= 0) {
      result.logprobs.push_back(log_probabilities(logits, id, options.logprobs));
    }
    context.push_back(id);
    // Also where no text comes: tokens that stand for none, or that may begin a stop string.
    if (!emit(filter.push(decoder.push(id))) || sys::interrupted()) {
      result.finish = FinishReason::kCancelled;
      break;
    }
    if (filter.stopped() || (constraint && constraint->must_end())) {
      result.finish = FinishReason::kStop;
      break;
    }
    if (static_cast<std::int64_t>(result.ids.size()) == max_tokens) break;
    forward(cache, std::span<const std::int32_t>(&context.back(), 1), position++);
    if (kept_) kept_ids_.push_back(id);
  }
  if (result.finish != FinishReason::kCancelled) {
    emit(filter.push(decoder.flush()));
    emit(filter.flush());
  }
  result.decode_seconds = watch.lap();
  return result;
}

}  // namespace conclave::infer
