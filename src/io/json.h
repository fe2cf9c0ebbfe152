// JSON from files that nobody vouches for: bounded in size and depth (without recursion), strict
// (RFC 8259: valid UTF-8, no comments, no trailing commas), duplicate keys refused; and typed
// getters whose errors name the file, the key, what was found and what was expected.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::io {

struct JsonLimits {
  std::uint64_t max_bytes = 4u << 20;
  int max_depth = 128;
  bool allow_duplicate_keys = false;  // true: the last one counts, as in most readers
};

// Throws Error(kBadFile) with file name, and line and column where the text is malformed.
nlohmann::json parse_json(std::string_view text, const std::string& file_name,
                          const JsonLimits& limits = {});
// Throws also what sys::read_file throws.
nlohmann::json read_json_file(const std::string& path, const JsonLimits& limits = {});

// `text` as a JSON string with its quotes. Throws Error(kInvalidArgument) where it is not UTF-8.
std::string json_quote(std::string_view text);

// An object of a document, seen through typed getters. A key that is null counts as absent. Views
// borrow the document; sub-objects are views too. All errors are Error(kBadFile):
// "config.json: key 'num_local_experts': found -3, expected an integer from 1 to 65536".
class JsonView {
 public:
  // Throws where `object` is not an object. `path` is the key of the object itself, or empty.
  JsonView(const nlohmann::json& object, std::string file_name, std::string path = "");

  const std::string& file_name() const { return file_name_; }
  const nlohmann::json& value() const { return *object_; }
  bool has(std::string_view key) const;  // there, and not null
  std::vector<std::string> keys() const;

  std::int64_t integer(std::string_view key, std::int64_t min, std::int64_t max) const;
  std::int64_t integer(std::string_view key, std::int64_t min, std::int64_t max,
                       std::int64_t if_absent) const;
  // Finite; an integer is taken too.
  double number(std::string_view key, double min, double max) const;
  double number(std::string_view key, double min, double max, double if_absent) const;
  bool boolean(std::string_view key) const;
  bool boolean(std::string_view key, bool if_absent) const;
  std::string string(std::string_view key) const;
  std::string string(std::string_view key, std::string_view if_absent) const;
  std::vector<std::int64_t> integers(std::string_view key, std::int64_t min,
                                     std::int64_t max) const;
  std::vector<double> numbers(std::string_view key) const;
  std::vector<std::string> strings(std::string_view key) const;
  JsonView object(std::string_view key) const;

  // Throws the error of this view about `key`: "FILE: key 'KEY': MESSAGE".
  [[noreturn]] void fail_at(std::string_view key, const std::string& message) const;

 private:
  const nlohmann::json* find(std::string_view key) const;
  const nlohmann::json& get(std::string_view key, const char* expected) const;

  const nlohmann::json* object_;
  std::string file_name_;
  std::string path_;
};

}  // namespace conclave::io
