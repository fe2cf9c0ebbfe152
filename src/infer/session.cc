#include "infer/session.h"

#include <algorithm>
#include <chrono>

#include "infer/stop_filter.h"

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

Session::Session(ops::Context& context, const std::string& directory, DType compute)
    : context_(context),
      directory_(directory),
      model_(models::load_model(context, directory, compute)) {
  routing_L_.resize(static_cast<std::size_t>(config().n_layers));
}

const text::Tokenizer& Session::tokenizer() const {
  if (!model_.tokenizer) {
    fail(ErrorKind::kNotFound, "{}: has no tokenizer.json, so it takes no text", directory_);
  }
  return *model_.tokenizer;
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

Generation Session::generate(const std::string& prompt, const GenerateOptions& options,
                             const TextCallback& on_text) {
  validate(options.sampling);
  std::vector<std::int32_t> context = tokenizer().encode(prompt);
  if (context.empty()) {  // the model needs something to go on from
    const int start = config().bos_id >= 0 ? config().bos_id : std::max(0, config().eos_id);
    context.push_back(start);
  }
  Generation result;
  result.prompt_tokens = static_cast<std::int64_t>(context.size());
  const std::int64_t room = config().max_positions - result.prompt_tokens;
  if (room < 0) {
    fail(ErrorKind::kInvalidArgument, "the prompt has {} tokens, but the model's context is {}",
         result.prompt_tokens, config().max_positions);
  }
  const std::int64_t max_tokens = std::min(options.max_tokens, room);
  const auto cache = model_.transformer->new_cache(result.prompt_tokens + max_tokens);

  Stopwatch watch;
  std::int64_t position = 0;
  const std::int64_t chunk = std::max<std::int64_t>(1, options.prefill_chunk);
  while (position < result.prompt_tokens) {
    const std::int64_t n = std::min(chunk, result.prompt_tokens - position);
    const auto ids = std::span<const std::int32_t>(context).subspan(
        static_cast<std::size_t>(position), static_cast<std::size_t>(n));
    forward(*cache, ids, position);
    position += n;
  }
  result.prefill_seconds = watch.lap();

  text::StreamDecoder decoder(tokenizer(), /*skip_special=*/true);
  StopFilter filter(options.stop);
  std::vector<float> logits(static_cast<std::size_t>(config().vocab_size));
  const auto emit = [&](const std::string& piece) {
    result.text += piece;
    return piece.empty() || !on_text || on_text(piece);
  };
  while (static_cast<std::int64_t>(result.ids.size()) < max_tokens) {
    const MatrixView<float> hidden = activations_.out.view();
    model_.transformer->logits(context_, hidden.rows_range(hidden.rows - 1, 1),
                               MatrixView<float>(logits.data(), 1, config().vocab_size));
    const std::int32_t id = sample(logits, options.sampling, context, result.ids.size());
    if (id == config().eos_id && !options.ignore_eos) {
      result.finish = FinishReason::kStop;
      break;
    }
    result.ids.push_back(id);
    context.push_back(id);
    if (!emit(filter.push(decoder.push(id)))) {
      result.finish = FinishReason::kCancelled;
      break;
    }
    if (filter.stopped()) {
      result.finish = FinishReason::kStop;
      break;
    }
    if (static_cast<std::int64_t>(result.ids.size()) == max_tokens) break;
    forward(*cache, std::span<const std::int32_t>(&context.back(), 1), position++);
  }
  if (result.finish != FinishReason::kCancelled) {
    emit(filter.push(decoder.flush()));
    emit(filter.flush());
  }
  result.decode_seconds = watch.lap();
  return result;
}

}  // namespace conclave::infer
