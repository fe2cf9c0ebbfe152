// How text is generated: the options, and what comes out.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace conclave {

// From logits to a token, applied in this order: bias, penalties, temperature, top-k, top-p, min-p,
// a draw. The draw is a function of the seed and of the number of tokens drawn before, so the same
// call on the same machine gives the same text. Out of range: Error(kInvalidArgument) names the
// option.
struct Sampling {
  double temperature = 0.8;        // 0 to 100; 0: always the most probable token
  int top_k = 40;                  // keep the k best; 0: all
  double top_p = 0.95;             // 0 to 1, keep the best that have this mass; 1: all
  double min_p = 0.0;              // 0 to 1, drop what is below min_p * the best; 0: nothing
  double repeat_penalty = 1.0;     // 0.001 to 1000, above 1 avoids repetition
  double presence_penalty = 0.0;   // -100 to 100, subtracted once from the logit of a seen token
  double frequency_penalty = 0.0;  // -100 to 100, subtracted for each time seen
  int penalty_window = 256;        // tokens back that count as seen
  std::map<std::int32_t, double> logit_bias;  // token id -> added to its logit
  std::uint64_t seed = 0;
};

struct GenerateOptions {
  Sampling sampling;
  std::int64_t max_tokens = 256;     // 0 or more; also ends where the model's context is full
  std::vector<std::string> stop;     // texts that end the answer (and are not part of it)
  bool ignore_eos = false;           // go on after the end-of-text token
  std::int64_t prefill_chunk = 512;  // prompt tokens computed together, 1 or more: memory and
                                     // speed, never the result
};

enum class FinishReason {
  kStop,       // the end-of-text token or a stop text
  kLength,     // max_tokens or the model's context
  kCancelled,  // the callback returned false
};

struct Generation {
  std::vector<std::int32_t> ids;  // generated tokens, without the end-of-text token
  std::string text;               // what the callback saw, joined
  FinishReason finish = FinishReason::kLength;
  std::int64_t prompt_tokens = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;
};

// Sees each piece of text as soon as it is final, on the calling thread: whole UTF-8 characters,
// never a part of a stop text. Returning false ends the answer. What it throws leaves generate().
using TextCallback = std::function<bool(std::string_view piece)>;

}  // namespace conclave
