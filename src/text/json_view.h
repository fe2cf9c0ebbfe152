// A value of a parsed file together with the way to it, so that every complaint names its key.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::text {

// Borrows the value. All throw Error(kBadFile) for a missing key or a wrong type.
class JsonView {
 public:
  JsonView(const nlohmann::json& value, std::string path)
      : value_(&value), path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  bool is_null() const { return value_->is_null(); }
  bool is_string() const { return value_->is_string(); }
  bool is_object() const { return value_->is_object(); }
  bool is_array() const { return value_->is_array(); }

  // Present and not null.
  bool has(const char* key) const;
  // Keys of an object, sorted.
  std::vector<std::string> keys() const;
  JsonView at(const char* key) const;
  std::size_t size() const;  // of an array
  JsonView at(std::size_t index) const;

  const std::string& text() const;
  std::int64_t integer() const;
  bool boolean() const;
  double number() const;

  const std::string& text(const char* key) const { return at(key).text(); }
  std::string text_or(const char* key, std::string_view otherwise) const;
  bool boolean_or(const char* key, bool otherwise) const;
  std::int64_t integer_or(const char* key, std::int64_t otherwise) const;

  [[noreturn]] void wrong(std::string_view expected) const;

 private:
  const nlohmann::json* value_;
  std::string path_;
};

}  // namespace conclave::text
