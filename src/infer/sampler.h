// From logits to the next token. The order of the steps is the one of transformers' generation:
// bias and penalties, temperature, top-k, top-p, min-p, typical, then a draw; temperature 0 takes
// the best.
// A draw is a function of the seed and the position alone.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "infer/grammar/constraint.h"

namespace conclave::infer {

struct SamplingOptions {
  double temperature = 0.8;  // 0: always the most probable token
  int top_k = 40;            // keep the k best; 0: all
  double top_p = 0.95;       // keep the smallest set of this mass (Holtzman et al. 2020); 1: all
  double min_p = 0.0;        // drop what is below min_p * best; 0: nothing
  double typical_p =
      1.0;  // keep the most typical tokens of this mass (Meister et al. 2022); 1: all
  double repeat_penalty =
      1.0;  // logits of seen tokens / penalty if positive, * if negative (Keskar et al. 2019)
  double presence_penalty = 0.0;   // subtracted once from seen tokens
  double frequency_penalty = 0.0;  // subtracted for each time seen
  int penalty_window = 256;        // tokens back that count as seen
  std::map<std::int32_t, double> logit_bias;
  std::uint64_t seed = 0;
};

// Throws Error(kInvalidArgument) naming the option that is out of range.
void validate(const SamplingOptions& options);

// The next token after `context` (prompt and what was generated); position counts draws. A NaN
// logit is never chosen; where all are NaN, Error(kNumeric). `mask`, where it is not null, says
// which tokens there are to choose from.
std::int32_t sample(std::span<const float> logits_V, const SamplingOptions& options,
                    std::span<const std::int32_t> context, std::uint64_t position,
                    const grammar::TokenMask* mask = nullptr);

struct TokenLogprob {
  std::int32_t id = 0;
  double logprob = 0;  // nats
};
// Of the logits as they are (no bias, penalty or temperature): the token that was chosen, and the
// `n` most probable ones, best first.
struct Logprobs {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;
};
Logprobs log_probabilities(std::span<const float> logits_V, std::int32_t chosen, int n);

}  // namespace conclave::infer
