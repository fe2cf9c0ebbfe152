// Who waits: who may join the queue, and who leaves it for the next step.

#include <algorithm>

#include "serve/engine.h"
#include "serve/sequence.h"

namespace conclave::serve {

// Under the mutex.
Admission Engine::admit(const std::string& client, std::int64_t count, std::int64_t tokens) const {
  if (!accepting_) return Admission::kStopping;
  if (status_.queued + count > limits_.max_queued) return Admission::kQueueFull;
  if (status_.queued_tokens + tokens > limits_.max_queued_tokens) return Admission::kTokensFull;
  const std::int64_t waiting = queue_.waiting_tokens(client);
  const std::int64_t most = limits_.client_queued_tokens;
  if (most > 0 && waiting + tokens > most) return Admission::kClientTokens;
  const std::int64_t free = limits_.max_queued - status_.queued;
  if (queue_.waiting(client) >= kQueueShare * free) return Admission::kClientShare;
  return Admission::kAccepted;
}

Admission Engine::submit(std::vector<SequenceRequest> requests) {
  std::vector<SequencePtr> sequences;
  std::int64_t tokens = 0;
  for (SequenceRequest& request : requests) {
    check(request);
    tokens += static_cast<std::int64_t>(request.prompt.size());
    sequences.push_back(std::make_unique<Sequence>(std::move(request), *model_.tokenizer));
  }
  if (sequences.empty()) return Admission::kAccepted;
  {
    const std::lock_guard lock(mutex_);
    const auto count = static_cast<std::int64_t>(sequences.size());
    const Admission admission = admit(sequences.front()->request.client, count, tokens);
    if (admission != Admission::kAccepted) return admission;
    status_.queued += count;
    status_.queued_tokens += tokens;
    for (SequencePtr& sequence : sequences) {
      const std::string client = sequence->request.client;
      const auto prompt = static_cast<std::int64_t>(sequence->request.prompt.size());
      queue_.push(client, std::move(sequence), prompt);
    }
  }
  wake_.notify_one();
  return Admission::kAccepted;
}

Admission Engine::admission(const std::string& client) const {
  const std::lock_guard lock(mutex_);
  return admit(client, 1, 1);
}

// Starts what fits, in turns between clients, and ends what waits in vain. Whose turn it is and who
// does not fit yet is waited for: a large request would starve behind small ones.
void Engine::take_from_queue(std::vector<SequencePtr>& ended) {
  std::vector<SequencePtr> starting;
  std::vector<EndReason> reasons;
  {
    const std::lock_guard lock(mutex_);
    const Clock::time_point now = Clock::now();
    const auto overdue = [&](const SequencePtr& sequence) {
      const EndReason reason = end_all_ ? EndReason::kShutdown : sequence->overdue(now);
      if (reason != EndReason::kNone) reasons.push_back(reason);
      return reason != EndReason::kNone;
    };
    const auto taken = [&](const Sequence& sequence) {
      --status_.queued;
      status_.queued_tokens -= static_cast<std::int64_t>(sequence.request.prompt.size());
      ++status_.running;  // until finish() takes it away
    };
    ended = queue_.take_if(overdue);
    for (const SequencePtr& sequence : ended) taken(*sequence);
    std::int64_t pages = 0;  // of those that start now
    while (!queue_.empty() && set_aside_.empty()) {
      const auto count = static_cast<std::int64_t>(running_.size() + starting.size());
      pages += queue_.front()->pages();
      if (count >= limits_.max_running) break;
      if (!fits(pages, starting.size())) break;
      starting.push_back(queue_.pop());
      taken(*starting.back());
    }
  }
  for (std::size_t i = 0; i < ended.size(); ++i) finish(*ended[i], reasons[i]);
  for (SequencePtr& sequence : starting) start(std::move(sequence));
}

}  // namespace conclave::serve
