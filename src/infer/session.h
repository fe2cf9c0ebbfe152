// A loaded model that answers: prompt in, tokens out, through a KV cache.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "infer/sampler.h"
#include "models/model_files.h"
#include "moe/statistics.h"
#include "nn/transformer.h"

namespace conclave::infer {

struct GenerateOptions {
  SamplingOptions sampling;
  std::int64_t max_tokens = 256;
  std::vector<std::string> stop;  // texts that end the answer (and are not part of it)
  bool ignore_eos = false;
  std::int64_t prefill_chunk = 512;  // prompt tokens computed together
};

enum class FinishReason { kStop, kLength, kCancelled };
const char* finish_reason_name(FinishReason reason);  // "stop", "length", "cancelled"

struct Generation {
  std::vector<std::int32_t> ids;  // generated tokens (an end-of-text token is not among them)
  std::string text;
  FinishReason finish = FinishReason::kLength;
  std::int64_t prompt_tokens = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;
};

// Called with each piece of text as it is final; returning false ends the answer.
using TextCallback = std::function<bool(const std::string& piece)>;

class Session {
 public:
  // Throws what loading throws. `compute` as in models::load_model.
  Session(ops::Context& context, const std::string& directory, DType compute);

  const nn::TransformerConfig& config() const { return model_.transformer->config(); }
  nn::Transformer& transformer() { return *model_.transformer; }
  bool has_tokenizer() const { return model_.tokenizer.has_value(); }
  // Throws Error(kNotFound) where the model has no tokenizer.
  const text::Tokenizer& tokenizer() const;

  Generation generate(const std::string& prompt, const GenerateOptions& options,
                      const TextCallback& on_text);

  // Logits of every position of `ids` in one pass, [S, V].
  FloatMatrix logits(std::span<const std::int32_t> ids);

  // Routing since the session began or the last reset, one entry a layer.
  const std::vector<moe::RoutingStatistics>& routing() const { return routing_L_; }
  void reset_routing() { routing_L_.assign(routing_L_.size(), {}); }

 private:
  void forward(nn::KvCache& cache, std::span<const std::int32_t> ids, std::int64_t position);

  ops::Context& context_;
  std::string directory_;
  models::LoadedModel model_;
  nn::Activations activations_;
  std::vector<moe::RoutingStatistics> routing_L_;
};

}  // namespace conclave::infer
