// A request's JSON object through typed getters. null counts as absent. What does not fit throws
// ApiError 400 that names the field, what was found and what was expected.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "serve/api_error.h"

namespace conclave::serve {

// Code unknown_parameter, with the nearest of `names` as a hint.
ApiError unknown_field(const std::string& name, const std::vector<std::string>& names);

// Throws ApiError for what is not JSON, no object, or nested deeper than 64.
nlohmann::json parse_request(const std::string& body);

// Of an integer: as large as it may get.
inline constexpr std::int64_t kNoMost = std::numeric_limits<std::int64_t>::max();

class Fields {
 public:
  // Borrows the object. `path` is in front of the names in errors.
  explicit Fields(const nlohmann::json& object, std::string path = "")
      : object_(object), path_(std::move(path)) {}

  const nlohmann::json* find(const char* key) const;  // null: absent
  std::int64_t integer(const char* key, std::int64_t min, std::int64_t max,
                       std::int64_t if_absent) const;
  double number(const char* key, double min, double max, double if_absent) const;
  bool boolean(const char* key, bool if_absent) const;
  std::string string(const char* key, const std::string& if_absent) const;
  // A string, or a list of at most `most` strings.
  std::vector<std::string> strings(const char* key, std::size_t most) const;
  // A list of token ids.
  std::vector<std::int32_t> ids(const char* key) const;

  // Throws for a member that is none of these.
  void only(const std::vector<std::string>& names) const;

  [[noreturn]] void wrong(const char* key, const nlohmann::json& found,
                          const std::string& expected) const;
  std::string name(const char* key) const { return path_ + key; }

 private:
  const nlohmann::json& object_;
  std::string path_;
};

// Ids of a JSON list; `name` is the field. Throws ApiError.
std::vector<std::int32_t> id_list(const nlohmann::json& list, const std::string& name);

}  // namespace conclave::serve
