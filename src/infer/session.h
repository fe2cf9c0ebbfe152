// A loaded model that answers: prompt in, tokens out, through a KV cache.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "infer/grammar/compile.h"
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
  int logprobs = -1;  // of this many best tokens beside each token of the answer; -1: none
  std::int64_t prefill_chunk = 512;  // prompt tokens computed together
  // What the answer is held to, or null; ends it where nothing but the end can follow. Not with
  // ignore_eos.
  grammar::ConstraintPtr constraint;
};

enum class FinishReason { kStop, kLength, kCancelled };
const char* finish_reason_name(FinishReason reason);  // "stop", "length", "cancelled"

struct Generation {
  std::vector<std::int32_t> ids;  // generated tokens (an end-of-text token is not among them)
  std::string text;
  std::vector<Logprobs> logprobs;  // one a token, where they were asked for
  FinishReason finish = FinishReason::kLength;
  std::int64_t prompt_tokens = 0;
  std::int64_t reused_tokens = 0;  // of the prompt, whose keys and values were still there
  double prefill_seconds = 0;
  double decode_seconds = 0;
};

// Called with each piece of text as it is final; returning false ends the answer.
using TextCallback = std::function<bool(const std::string& piece)>;

class Session {
 public:
  // Throws what loading throws.
  Session(ops::Context& context, const std::string& directory, const models::Precision& precision);

  const nn::TransformerConfig& config() const { return model_.transformer->config(); }
  nn::Transformer& transformer() { return *model_.transformer; }
  bool has_tokenizer() const { return model_.tokenizer.has_value(); }
  // Throws Error(kNotFound) where the model has no tokenizer.
  const text::Tokenizer& tokenizer() const;
  // The vocabulary as grammars see it, made at the first call. Throws as tokenizer() and
  // TokenTable.
  grammar::TokensPtr grammar_tokens();

  Generation generate(const std::string& prompt, const GenerateOptions& options,
                      const TextCallback& on_text);
  // The same from token ids.
  Generation generate(std::span<const std::int32_t> prompt, const GenerateOptions& options,
                      const TextCallback& on_text);
  // Keeps the keys and values of up to `tokens` positions from one call of generate to the next: a
  // prompt that begins like the last one and its answer is computed from where it differs. Prompts
  // and answers are limited to `tokens`. Memory is taken as they grow. Throws
  // Error(kInvalidArgument) beyond the model's context.
  void keep_context(std::int64_t tokens);
  // Tokens that end an answer.
  const std::vector<std::int32_t>& end_ids() const { return model_.end_ids; }

  // Logits of every position of `ids` in one pass, [S, V].
  FloatMatrix logits(std::span<const std::int32_t> ids);

  // Routing since the session began or the last reset, one entry a layer.
  const std::vector<moe::RoutingStatistics>& routing() const { return routing_L_; }
  void reset_routing() { routing_L_.assign(routing_L_.size(), {}); }

 private:
  std::int64_t reusable(std::span<const std::int32_t> prompt) const;
  void prefill(nn::KvCache& cache, std::span<const std::int32_t> prompt, std::int64_t position,
               std::int64_t chunk);
  void forward(nn::KvCache& cache, std::span<const std::int32_t> ids, std::int64_t position);

  ops::Context& context_;
  std::string directory_;
  models::LoadedModel model_;
  grammar::TokensPtr grammar_tokens_;
  nn::Activations activations_;
  std::vector<moe::RoutingStatistics> routing_L_;
  std::unique_ptr<nn::KvCache> kept_;   // see keep_context
  std::vector<std::int32_t> kept_ids_;  // whose keys and values it holds
};

}  // namespace conclave::infer
