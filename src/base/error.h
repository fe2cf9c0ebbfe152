// Errors: one small hierarchy for what the world does to us (files, configuration, memory,
// numbers), and one always-on check for our own bugs. Kernels are noexcept and use neither.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <exception>
#include <string>
#include <utility>

namespace conclave {

enum class ErrorKind {
  kInvalidArgument,  // an argument, recipe key or request that cannot be honoured
  kNotFound,         // a file, tensor or key that is not there
  kBadFile,          // a file whose content breaks its format
  kUnsupported,      // well-formed, but not something this build can do
  kIo,               // the operating system refused: disk full, permission, read error
  kOutOfMemory,      // more memory than there is, or than the budget allows
  kNumeric,          // a non-finite number where training cannot go on
  kInterrupted,      // the user asked to stop
};

// "invalid argument", "not found", ... as shown to people.
const char* error_kind_name(ErrorKind kind);

// What happened, and where, innermost first: "key 'experts': found 0, expected 1..65536".
// A message names the file, tensor, key or argument, what was found, and what to do.
class Error : public std::exception {
 public:
  Error(ErrorKind kind, std::string message);

  ErrorKind kind() const { return kind_; }
  const std::string& message() const { return message_; }
  const char* what() const noexcept override { return message_.c_str(); }

  // Puts "context: " before the message; used while an error travels outwards.
  void add_context(const std::string& context);

 private:
  ErrorKind kind_;
  std::string message_;
};

template <class... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

// Runs `body`; an Error that leaves it gets `context` in front of its message.
template <class Body>
decltype(auto) with_context(const std::string& context, Body&& body) {
  try {
    return std::forward<Body>(body)();
  } catch (Error& error) {
    error.add_context(context);
    throw;
  }
}

[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               const std::string& message);

}  // namespace conclave

// A bug of ours, never reachable from input: prints where and why, and aborts. Always on.
#define CONCLAVE_CHECK(condition, ...)                                                         \
  do {                                                                                         \
    if (!(condition)) [[unlikely]]                                                             \
      ::conclave::check_failed(__FILE__, __LINE__, #condition, ::fmt::format("" __VA_ARGS__)); \
  } while (false)
