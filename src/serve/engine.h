// Many requests on one model: continuous batching (Yu et al. 2022, "Orca", section 4.1). A thread
// of its own runs one forward pass a step over a ragged batch: one row of every answer that is
// being written, and beside them a bounded number of prompt rows, so that a long prompt never
// stalls a stream. Sequences join and leave between steps. A sequence's tokens are the same alone
// and in company, because no row of a forward pass depends on the others.
//
// Who waits is taken in turns between clients (fair_queue.h), and while one client fills the queue
// there remains room for others: a client may hold up to kQueueShare times what is free (dynamic
// thresholds, Choudhury and Hahne 1998).
//
// Keys and values lie in pages (nn/kv_pool.h) that sequences take as they grow; a sequence that
// could not be held alone is refused at the door. Pages that nobody needs keep the caches of
// sequences that ended (prefix_cache.h): a prompt that begins as one of them, or as a sequence
// beside it, holds the same pages instead of computing them. Where pages run out, kept caches go
// first; then the sequence that started last is set aside: it gives its pages back and goes on when
// there is room, computing its tokens anew. Its answer has the bits that it would have had, for the
// same reason as in company, so the oldest always ends and nobody sees more than a pause.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "infer/grammar/compile.h"
#include "infer/sampler.h"
#include "models/model_files.h"
#include "moe/statistics.h"
#include "nn/transformer.h"
#include "serve/fair_queue.h"
#include "serve/prefix_cache.h"
#include "serve/routing_history.h"

namespace conclave::serve {

using Clock = std::chrono::steady_clock;

struct EngineLimits {
  std::int64_t max_running = 16;                  // sequences in a step
  std::int64_t max_queued = 256;                  // sequences that wait
  std::int64_t max_queued_tokens = 1 << 18;       // of their prompts
  std::int64_t client_queued_tokens = 0;          // of one client's prompts; 0: no limit
  std::int64_t prefill_chunk = 256;               // prompt tokens in a step
  std::int64_t kv_bytes = std::int64_t{4} << 30;  // of all keys and values
  std::int64_t context = 0;                       // prompt and answer together; 0: the model's
};

// A client alone may hold 8/9 of the queue, two of them 8/17 each.
inline constexpr std::int64_t kQueueShare = 8;

// Experts that one pass chose for one token, the layers with a router one after the other, best
// first.
struct TokenRouting {
  std::vector<std::int32_t> experts;
  std::vector<float> weights;
};

enum class EndReason : std::uint8_t {
  kNone,       // goes on
  kStop,       // end-of-text token or stop string
  kLength,     // max_tokens reached
  kCancelled,  // the caller left
  kDeadline,   // too late
  kShutdown,   // the server ends
  kFailed,     // Event::error says why
};

// How the hidden states of a text become its embedding.
enum class Pooling : std::uint8_t { kNone, kMean, kLast };

// What a sequence did in a step: a token with the text that it made final (often empty), or the end
// with the last piece of text.
struct Event {
  std::int32_t id = -1;  // -1: only the end
  std::string text;
  std::optional<infer::Logprobs> logprobs;
  TokenRouting routing;  // of the pass that this token came from
  EndReason end = EndReason::kNone;
  std::string error;
  std::int64_t reused_tokens = 0;  // of the prompt, at its first reading; with the end
  std::vector<float> embedding;    // of length one; with the end of a sequence that is pooled
};
// Called on the engine's thread; must be quick and must not throw.
using EventCallback = std::function<void(Event&&)>;

// A flag that the caller raises when nobody waits for the answer any more.
using CancelFlag = std::shared_ptr<std::atomic<bool>>;

struct SequenceRequest {
  std::string client;                // who asks: clients take turns
  std::vector<std::int32_t> prompt;  // not empty, ids of the vocabulary
  infer::SamplingOptions sampling;
  std::int64_t max_tokens = 16;
  Pooling pooling = Pooling::kNone;  // others: nothing is written, max_tokens is 0
  std::vector<std::string> stop;
  std::vector<std::int32_t> shown;  // special tokens that are part of the text all the same
  bool ignore_eos = false;          // not with a constraint
  infer::grammar::ConstraintPtr constraint;  // what the answer is held to, or null
  int logprobs = -1;                         // of this many best tokens beside each; -1: none
  bool routing = false;                      // fill Event::routing
  Clock::time_point deadline = Clock::time_point::max();
  CancelFlag cancelled;  // may be null
  EventCallback on_event;
};

enum class Admission : std::uint8_t {
  kAccepted,
  kQueueFull,
  kTokensFull,
  kClientShare,   // one client's share of the queue is full
  kClientTokens,  // client_queued_tokens
  kStopping,
};

// Counts since the start, and what is there now.
struct EngineStatus {
  std::int64_t queued = 0, queued_tokens = 0, running = 0, kv_bytes = 0;
  std::int64_t set_aside = 0;      // started, and waiting for pages
  std::int64_t kept_bytes = 0;     // of sequences that ended
  std::int64_t reused_tokens = 0;  // held already instead of computed
  std::int64_t preemptions = 0;    // times that a sequence was set aside
  std::int64_t prompt_tokens = 0, generated_tokens = 0, steps = 0, finished = 0, cancelled = 0;
  double step_seconds = 0, routing_seconds = 0;  // in steps; of them counting routing
  // First-token times below kFirstTokenBounds[i] seconds, and all of them.
  std::vector<std::int64_t> first_token_counts;
  double first_token_seconds = 0;
};
inline constexpr double kFirstTokenBounds[] = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                               1,    2.5,   5,    10,  30};

class Engine {
 public:
  // Borrows both; nobody else may use the context and the transformer while the engine lives.
  // Starts the thread.
  Engine(ops::Context& context, models::LoadedModel& model, const EngineLimits& limits);
  ~Engine();  // stop()
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // All of them or none. Throws Error(kInvalidArgument) for what can never run: an empty prompt, a
  // token that does not exist, a prompt and answer beyond the context or the cache budget.
  Admission submit(std::vector<SequenceRequest> requests);
  // What submit would say to one more sequence of unknown length: to refuse early.
  Admission admission(const std::string& client = "") const;
  // Looks at the cancel flags now instead of after the next event.
  void wake();
  // From now on submit says kStopping; what was accepted goes on.
  void stop_accepting();
  // Ends everything that was accepted, with kShutdown, within one step.
  void end_all();
  // Does so and waits for it: no event comes any more.
  void stop();
  bool idle() const;

  std::int64_t context_limit() const { return context_limit_; }
  EngineStatus status() const;
  // Routing since the start, one entry a layer.
  std::vector<moe::RoutingStatistics> routing() const;
  // Of the last seconds.
  RoutingHistory::Window routing_window(double seconds) const;
  // Seconds until a place in the queue is likely to be free, from recent steps; at least 1.
  int retry_after() const;

 private:
  struct Sequence;
  struct Row;  // a sequence's last row in the batch of a step
  using SequencePtr = std::unique_ptr<Sequence>;

  void check(const SequenceRequest& request) const;
  Admission admit(const std::string& client, std::int64_t count, std::int64_t tokens) const;
  std::int64_t cache_bytes(const SequenceRequest& request) const;
  void loop();
  bool wait_for_work();
  void take_from_queue(std::vector<SequencePtr>& ended);
  std::int64_t held_pages();
  bool fits(std::int64_t pages, std::size_t starting);
  void resume();
  void start(SequencePtr sequence);
  void remove_ended();
  void step();
  void plan_rows();
  void take_pages();
  bool grow(Sequence& sequence);
  void set_aside_last();
  void build_batch(nn::Batch& batch);
  void keep_ended(Sequence& sequence);
  bool reuse(Sequence& sequence);
  void share(Sequence& sequence, PrefixCache::Match match);
  void record_routing(int layer, const moe::RoutingDecision& decision);
  void sample_rows();
  void pool_rows(const nn::Batch& batch);
  void advance(Row& row);
  void count_first_token(double seconds);
  void finish(Sequence& sequence, EndReason reason, const std::string& error = "");
  void fail_running(const std::string& error);

  ops::Context& context_;
  models::LoadedModel& model_;
  EngineLimits limits_;
  std::int64_t context_limit_;

  mutable std::mutex mutex_;  // of what follows, up to statistics_mutex_
  std::condition_variable wake_;
  FairQueue<SequencePtr> queue_;
  EngineStatus status_;
  bool accepting_ = true, stopping_ = false, woken_ = false;
  double seconds_per_sequence_ = 0.5;  // smoothed time between two ends
  Clock::time_point last_end_ = Clock::now();
  std::atomic<bool> end_all_{false};

  mutable std::mutex statistics_mutex_;
  RoutingHistory history_;
  double routing_seconds_ = 0;  // spent on counting

  // The engine thread's own.
  std::shared_ptr<nn::KvPool> pool_;
  std::int64_t most_pages_;
  std::vector<SequencePtr> running_;   // in the order in which they started
  std::deque<SequencePtr> set_aside_;  // all of them started later
  std::vector<std::int32_t> ids_T_;
  std::vector<Row> rows_;
  nn::Activations activations_;
  FloatMatrix hidden_, logits_;
  std::int64_t prompt_rows_ = 0;  // of the batch, computed for the first time
  std::int64_t reused_rows_ = 0;  // held already by those that begin in it
  std::int64_t held_pages_ = -1;  // by running_; -1: to be counted again
  PrefixCache prefixes_;
  std::thread thread_;
};

}  // namespace conclave::serve
