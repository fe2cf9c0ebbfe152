// Errors: how code of ours throws conclave::Error (the type is part of the installed API), and one
// always-on check for our own bugs. Kernels are noexcept and use neither.
#pragma once

#include <conclave/error.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>
#include <utility>

namespace conclave {

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
