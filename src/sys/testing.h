// For tests only: a directory that removes itself, a disk that fails when it is told to, and checks
// of errors.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/error.h"
#include "sys/files.h"

namespace conclave::testing {

class TempDir {
 public:
  TempDir() {
    // Memory, where there is such a directory: a flush to a busy disk takes tens of milliseconds,
    // and the tests make thousands. TMPDIR chooses another place.
    const char* const chosen = std::getenv("TMPDIR");
    const std::string base = chosen != nullptr                        ? chosen
                             : ::access("/dev/shm", R_OK | W_OK) == 0 ? "/dev/shm"
                                                                      : "/tmp";
    std::string pattern = base + "/conclave-XXXXXX";
    CONCLAVE_CHECK(::mkdtemp(pattern.data()) != nullptr, "no temporary directory");
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return sys::join_path(path_, name); }
  // Writes plainly, without the code under test.
  std::string put(std::string_view name, std::string_view content) const {
    const std::string path = *this / name;
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }

 private:
  std::string path_;
};

inline std::string slurp(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

// Counts the calls that can fail and fails the n-th (from 1) with `error_number`; 0 fails none.
// unlink is counted out: it is how failures are cleaned up.
class FailingDisk : public sys::FileOps {
 public:
  explicit FailingDisk(int fail_at = 0, int error_number = EIO)
      : fail_at_(fail_at), error_number_(error_number) {}

  int calls() const { return calls_; }
  const std::string& failed_call() const { return failed_call_; }
  bool renamed() const { return renamed_; }
  std::size_t max_write = SIZE_MAX;  // a write takes no more bytes than this
  bool interrupt = false;            // every other write and fsync is interrupted (EINTR)

  int open(const char* path, int flags, mode_t mode) override {
    return fails("open") ? -1 : FileOps::open(path, flags, mode);
  }
  ssize_t write(int fd, const void* data, std::size_t bytes) override {
    if (interrupted() || fails("write")) return -1;
    return FileOps::write(fd, data, std::min(bytes, max_write));
  }
  int fsync(int fd) override {
    if (interrupted()) return -1;
    return fails("fsync") ? -1 : FileOps::fsync(fd);
  }
  int close(int fd) override {  // as on Linux, a failing close has closed
    const int result = FileOps::close(fd);
    return fails("close") ? -1 : result;
  }
  int rename(const char* from, const char* to) override {
    if (fails("rename")) return -1;
    renamed_ = true;
    return FileOps::rename(from, to);
  }
  int exchange(const char* one, const char* other) override {
    if (fails("exchange")) return -1;
    renamed_ = true;
    return FileOps::exchange(one, other);
  }
  int mkdir(const char* path, mode_t mode) override {
    return fails("mkdir") ? -1 : FileOps::mkdir(path, mode);
  }

 private:
  bool fails(const char* call) {
    if (++calls_ != fail_at_) return false;
    failed_call_ = call;
    errno = error_number_;
    return true;
  }
  bool interrupted() {
    if (!interrupt || (odd_ = !odd_)) return false;
    errno = EINTR;
    return true;
  }

  int fail_at_;
  int error_number_;
  int calls_ = 0;
  bool odd_ = false;
  bool renamed_ = false;
  std::string failed_call_;
};

// Runs `body`, which must throw an Error; gives it back for a look at kind and message.
template <class Body>
Error error_of(const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "expected an Error, and there was none";
  return Error(ErrorKind::kInterrupted, "none");
}

}  // namespace conclave::testing

// `statement` throws an Error of this kind whose message holds `text`.
#define EXPECT_ERROR(statement, expected_kind, text)                                    \
  do {                                                                                  \
    const ::conclave::Error error_ = ::conclave::testing::error_of([&] { statement; }); \
    EXPECT_EQ(error_.kind(), expected_kind) << error_.message();                        \
    EXPECT_NE(error_.message().find(text), std::string::npos) << error_.message();      \
  } while (false)
