#include "serve/log_writer.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <ctime>
#include <thread>
#include <utility>

#include "base/error.h"

namespace conclave::serve {

struct LogWriter::State {
  int descriptor = -1;
  std::size_t most_bytes = 0;
  mutable std::mutex mutex;
  std::condition_variable wake, done;
  std::string pending;
  std::int64_t dropped = 0, reported = 0;
  bool stopping = false, ended = false;
};

std::string log_time() {
  const std::time_t now = std::time(nullptr);
  std::tm utc = {};
  gmtime_r(&now, &utc);
  char text[32];
  return {text, std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

LogWriter::LogWriter(int descriptor, std::size_t most_bytes) : state_(std::make_shared<State>()) {
  state_->descriptor = descriptor;
  state_->most_bytes = most_bytes;
  std::thread([state = state_] { loop(state); }).detach();
}

LogWriter::~LogWriter() {
  std::unique_lock lock(state_->mutex);
  state_->stopping = true;
  state_->wake.notify_all();
  state_->done.wait_for(lock, std::chrono::seconds(1), [this] { return state_->ended; });
}

void LogWriter::write(const std::string& line) {
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->pending.size() + line.size() > state_->most_bytes) {
      ++state_->dropped;
      return;
    }
    state_->pending += line;
  }
  state_->wake.notify_one();
}

std::int64_t LogWriter::dropped() const {
  const std::lock_guard lock(state_->mutex);
  return state_->dropped;
}

void LogWriter::loop(const std::shared_ptr<State>& state) {
  sigset_t broken_pipe;  // comes to the thread that writes: write() below says EPIPE instead
  sigemptyset(&broken_pipe);
  sigaddset(&broken_pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &broken_pipe, nullptr);
  std::unique_lock lock(state->mutex);
  while (true) {
    state->wake.wait(lock, [&] { return state->stopping || !state->pending.empty(); });
    std::string text = std::exchange(state->pending, {});
    if (text.empty()) break;
    const std::int64_t lost = state->dropped - std::exchange(state->reported, state->dropped);
    if (lost > 0) {
      text += fmt::format("time={} level=warning lines_left_out={}\n", log_time(), lost);
    }
    lock.unlock();
    for (std::size_t sent = 0; sent < text.size();) {
      const ssize_t n = ::write(state->descriptor, text.data() + sent, text.size() - sent);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) break;  // a closed or full one: the text is lost, the server goes on
      sent += static_cast<std::size_t>(n);
    }
    lock.lock();
  }
  state->ended = true;
  state->done.notify_all();
}

}  // namespace conclave::serve
