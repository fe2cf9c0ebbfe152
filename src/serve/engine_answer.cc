// From a sampled token to the text that a caller sees, as infer::Session does it for one sequence.

#include <algorithm>

#include "serve/engine.h"
#include "serve/sequence.h"

namespace conclave::serve {

void Engine::count_first_token(double seconds) {
  const std::lock_guard lock(mutex_);
  const auto* const bound =
      std::lower_bound(std::begin(kFirstTokenBounds), std::end(kFirstTokenBounds), seconds);
  ++status_.first_token_counts[static_cast<std::size_t>(bound - std::begin(kFirstTokenBounds))];
  status_.first_token_seconds += seconds;
}

void Engine::advance(Row& row) {
  Sequence& s = *row.sequence;
  if (s.generated() == 0) {
    count_first_token(std::chrono::duration<double>(Clock::now() - s.submitted).count());
  }
  const std::vector<std::int32_t>& ends = model_.end_ids;
  if (!s.request.ignore_eos && std::find(ends.begin(), ends.end(), row.id) != ends.end()) {
    finish(s, EndReason::kStop);
    return;
  }
  s.tokens.push_back(row.id);
  Event event;
  event.id = row.id;
  event.text = s.filter.push(s.text_of(row.id));
  event.logprobs = std::move(row.logprobs);
  event.routing = std::move(s.routing);
  s.routing = {};
  {
    const std::lock_guard lock(mutex_);
    ++status_.generated_tokens;
    queue_.charge(s.request.client, 1);
  }
  s.request.on_event(std::move(event));
  if (s.filter.stopped() || (s.constraint && s.constraint->must_end())) {
    finish(s, EndReason::kStop);
  } else if (s.generated() >= s.request.max_tokens) {
    finish(s, EndReason::kLength);
  }
}

void Engine::finish(Sequence& s, EndReason reason, const std::string& error) {
  s.ended = true;
  if (reason == EndReason::kFailed) s.computed = 0;  // nobody knows what its cache holds
  Event event;
  event.end = reason;
  event.error = error;
  event.reused_tokens = s.reused;
  event.embedding = std::move(s.embedding);
  if (reason == EndReason::kStop || reason == EndReason::kLength) {
    event.text = s.filter.push(s.decoder.flush());
    event.text += s.filter.flush();
  }
  {
    const std::lock_guard lock(mutex_);
    --status_.running;
    queue_.leave(s.request.client);
    ++(reason == EndReason::kCancelled ? status_.cancelled : status_.finished);
    const Clock::time_point now = Clock::now();
    const double gap = std::chrono::duration<double>(now - last_end_).count();
    // An idle time says nothing about how fast the queue moves.
    if (status_.queued > 0) seconds_per_sequence_ += 0.1 * (gap - seconds_per_sequence_);
    last_end_ = now;
  }
  s.request.on_event(std::move(event));
}

void Engine::fail_running(const std::string& error) {
  for (const SequencePtr& sequence : running_) {
    if (!sequence->ended) finish(*sequence, EndReason::kFailed, error);
  }
}

}  // namespace conclave::serve
