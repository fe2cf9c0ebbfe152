#include "serve/log_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <utility>

namespace conclave::serve {
namespace {

class Pipe {
 public:
  Pipe() { EXPECT_EQ(pipe(ends_), 0); }
  ~Pipe() {
    close_reader();
    close(ends_[1]);
  }
  void close_reader() { close(std::exchange(ends_[0], -1)); }
  int in() const { return ends_[1]; }
  std::string read_some() const {
    char bytes[4096];
    const ssize_t n = read(ends_[0], bytes, sizeof(bytes));
    return {bytes, static_cast<std::size_t>(n > 0 ? n : 0)};
  }

 private:
  int ends_[2] = {-1, -1};
};

TEST(LogWriter, WritesEverythingInOrderBeforeItEnds) {
  const Pipe pipe;
  {
    LogWriter log(pipe.in());
    for (int i = 0; i < 100; ++i) log.write(std::to_string(i) + "\n");
  }
  std::string expected;
  for (int i = 0; i < 100; ++i) expected += std::to_string(i) + "\n";
  EXPECT_EQ(pipe.read_some(), expected);
}

TEST(LogWriter, AReaderThatStopsHoldsNobodyUpAndTheLossIsSaid) {
  const Pipe pipe;
  const std::string line(1000, 'x');
  LogWriter log(pipe.in(), 10000);
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 10000; ++i) log.write(line + "\n");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  EXPECT_GT(log.dropped(), 5000);
  std::string text;
  while (text.find("lines_left_out=") == std::string::npos) text += pipe.read_some();
}

TEST(LogWriter, AReaderThatLeavesEndsNothing) {
  Pipe pipe;
  pipe.close_reader();
  LogWriter log(pipe.in());
  for (int i = 0; i < 100; ++i) log.write("x\n");
}

// The reader leaves while a write waits for room: the signal must not reach the process either.
TEST(LogWriter, AReaderThatLeavesAFullPipeEndsNothing) {
  Pipe pipe;
  LogWriter log(pipe.in(), 1 << 20);
  log.write(std::string(1 << 19, 'x'));
  EXPECT_EQ(pipe.read_some().size(), 4096u);
  pipe.close_reader();
}

TEST(LogWriter, ABadDescriptorIsNoHarm) {
  LogWriter log(-1);
  for (int i = 0; i < 100; ++i) log.write("x\n");
}

TEST(LogWriter, Time) { EXPECT_EQ(log_time().size(), 20u); }

}  // namespace
}  // namespace conclave::serve
