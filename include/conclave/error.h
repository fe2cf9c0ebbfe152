// The one exception type of Conclave: what the world does to us (files, arguments, memory,
// numbers).
#pragma once

#include <conclave/export.h>

#include <exception>
#include <string>

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
CONCLAVE_API const char* error_kind_name(ErrorKind kind);

// What happened, and where, innermost last: "config.json: key 'experts': found 0, expected
// 1..65536". A message names the file, tensor, key or argument, what was found, and what to do.
class CONCLAVE_API Error : public std::exception {
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

}  // namespace conclave
