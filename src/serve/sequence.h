// One answer while it is written: its tokens so far, its cache, and its text on the way out.
#pragma once

#include <algorithm>

#include "infer/stop_filter.h"
#include "serve/engine.h"
#include "text/tokenizer.h"

namespace conclave::serve {

struct Engine::Sequence {
  Sequence(SequenceRequest r, const text::Tokenizer& t)
      : request(std::move(r)),
        tokens(request.prompt),
        tokenizer(t),
        decoder(t, /*skip_special=*/true),
        filter(request.stop) {
    if (request.constraint) constraint.emplace(request.constraint);
  }

  std::int64_t size() const { return static_cast<std::int64_t>(tokens.size()); }
  // Tokens whose keys and values are not in the cache yet: 1 while decoding.
  std::int64_t pending() const { return size() - computed; }
  std::int64_t generated() const {
    return size() - static_cast<std::int64_t>(request.prompt.size());
  }
  // The text that a token makes final.
  std::string text_of(std::int32_t id) {
    const std::vector<std::int32_t>& shown = request.shown;
    if (std::find(shown.begin(), shown.end(), id) == shown.end()) return decoder.push(id);
    return decoder.flush() + std::string(tokenizer.token_text(id));
  }
  // It is read, and every step adds a token.
  bool writing() const { return generated() > 0 && pending() == 1; }
  // Pages that it will hold when its next token is there.
  std::int64_t pages() const { return nn::KvPool::pages(size() + 1); }
  // Gives its memory back; everything will be computed anew.
  void set_aside() {
    cache->release();
    computed = rows = 0;
    pooled.clear();
  }
  // Why it must end before its next step, or kNone.
  EndReason overdue(Clock::time_point now) const {
    if (request.cancelled && request.cancelled->load(std::memory_order_relaxed)) {
      return EndReason::kCancelled;
    }
    return now >= request.deadline ? EndReason::kDeadline : EndReason::kNone;
  }

  SequenceRequest request;
  std::vector<std::int32_t> tokens;  // prompt and answer
  std::unique_ptr<nn::KvCache> cache;
  std::int64_t computed = 0;  // tokens whose keys and values are in the cache
  std::int64_t furthest = 0;  // the most that was ever computed
  std::int64_t reused = 0;    // of the prompt, when it was read first
  std::int64_t rows = 0;      // in this step
  const text::Tokenizer& tokenizer;
  text::StreamDecoder decoder;
  infer::StopFilter filter;
  std::optional<infer::grammar::ConstraintState> constraint;
  TokenRouting routing;
  std::vector<double> pooled;  // sum of hidden states, or the last one
  std::vector<float> embedding;
  Clock::time_point submitted = Clock::now();
  bool ended = false;
};

struct Engine::Row {
  Row(Sequence* s, std::int64_t i) : sequence(s), index(i) {}

  Sequence* sequence;
  std::int64_t index;  // in the batch
  std::int32_t id = -1;
  std::optional<infer::Logprobs> logprobs;
  std::string error;
};

}  // namespace conclave::serve
