// Lines for the log, written by a thread of its own: a full disk or a reader that has stopped never
// holds up a request. What does not fit into the buffer is counted and left out, and said so.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

namespace conclave::serve {

class LogWriter {
 public:
  // Writes to the descriptor, which stays open. Buffers up to `most_bytes`. A reader that leaves
  // raises no SIGPIPE: what is written from then on is lost.
  explicit LogWriter(int descriptor, std::size_t most_bytes = 1 << 20);
  // Waits up to a second for what is buffered.
  ~LogWriter();
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  // From any thread; `line` ends with a newline. Never waits for the descriptor.
  void write(const std::string& line);
  std::int64_t dropped() const;  // lines since the start

 private:
  struct State;  // also the thread's, which may outlive this object where a write never returns
  static void loop(const std::shared_ptr<State>& state);

  std::shared_ptr<State> state_;
};

// "2026-01-31T12:00:00Z" of now.
std::string log_time();

}  // namespace conclave::serve
