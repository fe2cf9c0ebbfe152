#include "base/error.h"

#include <cstdio>
#include <cstdlib>

namespace conclave {

const char* error_kind_name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalidArgument:
      return "invalid argument";
    case ErrorKind::kNotFound:
      return "not found";
    case ErrorKind::kBadFile:
      return "bad file";
    case ErrorKind::kUnsupported:
      return "unsupported";
    case ErrorKind::kIo:
      return "input/output";
    case ErrorKind::kOutOfMemory:
      return "out of memory";
    case ErrorKind::kNumeric:
      return "numeric";
    case ErrorKind::kInterrupted:
      return "interrupted";
  }
  return "unknown";
}

Error::Error(ErrorKind kind, std::string message) : kind_(kind), message_(std::move(message)) {}

void Error::add_context(const std::string& context) { message_ = context + ": " + message_; }

void check_failed(const char* file, int line, const char* condition, const std::string& message) {
  std::fprintf(stderr, "conclave: internal error at %s:%d: %s%s%s\n", file, line, condition,
               message.empty() ? "" : ": ", message.c_str());
  std::abort();
}

}  // namespace conclave
