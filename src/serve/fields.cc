#include "serve/fields.h"

#include <algorithm>

#include "base/error.h"
#include "io/json.h"
#include "io/nearest_name.h"

namespace conclave::serve {

using nlohmann::json;

namespace {

constexpr std::size_t kShown = 60;  // bytes of what was found, in a message

std::string shown(const json& value) {
  if (value.is_array()) return value.empty() ? "an empty list" : "a list";
  if (value.is_object()) return "an object";
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > kShown) text = text.substr(0, kShown) + "...";
  return text;
}

[[noreturn]] void refuse(const std::string& name, const json& found, const std::string& expected) {
  throw bad_request(fmt::format("'{}': found {}, expected {}", name, shown(found), expected), name);
}

}  // namespace

json parse_request(const std::string& body) {
  json value;
  try {
    value = io::parse_json(body, "request body", {.max_bytes = 1u << 30, .max_depth = 64});
  } catch (const Error& error) {
    throw bad_request(error.what());
  }
  if (!value.is_object()) throw bad_request("the request body is no JSON object");
  return value;
}

const json* Fields::find(const char* key) const {
  const auto place = object_.find(key);
  return place == object_.end() || place->is_null() ? nullptr : &*place;
}

ApiError unknown_field(const std::string& name, const std::vector<std::string>& names) {
  const std::string shown = name.substr(0, 64);
  return bad_request(fmt::format("Unrecognized request argument supplied: {}{}", shown,
                                 io::did_you_mean(shown, names)),
                     shown, "unknown_parameter");
}

void Fields::only(const std::vector<std::string>& names) const {
  for (const auto& [key, value] : object_.items()) {
    if (std::find(names.begin(), names.end(), key) == names.end()) {
      throw unknown_field(path_ + key, names);
    }
  }
}

void Fields::wrong(const char* key, const json& found, const std::string& expected) const {
  refuse(name(key), found, expected);
}

std::int64_t Fields::integer(const char* key, std::int64_t min, std::int64_t max,
                             std::int64_t if_absent) const {
  const json* const value = find(key);
  if (value == nullptr) return if_absent;
  const std::string expected = max != kNoMost ? fmt::format("an integer from {} to {}", min, max)
                               : min >= 0 ? fmt::format("an integer of 64 bits, at least {}", min)
                                          : "an integer of 64 bits";
  if (!value->is_number_integer()) wrong(key, *value, expected);
  const bool too_large = value->is_number_unsigned() &&
                         value->get<std::uint64_t>() > static_cast<std::uint64_t>(kNoMost);
  if (too_large) wrong(key, *value, expected);
  const auto number = value->get<std::int64_t>();
  if (number < min || number > max) wrong(key, *value, expected);
  return number;
}

double Fields::number(const char* key, double min, double max, double if_absent) const {
  const json* const value = find(key);
  if (value == nullptr) return if_absent;
  const std::string expected = fmt::format("a number from {} to {}", min, max);
  if (!value->is_number()) wrong(key, *value, expected);
  const auto number = value->get<double>();
  if (!(number >= min && number <= max)) wrong(key, *value, expected);
  return number;
}

bool Fields::boolean(const char* key, bool if_absent) const {
  const json* const value = find(key);
  if (value == nullptr) return if_absent;
  if (!value->is_boolean()) wrong(key, *value, "true or false");
  return value->get<bool>();
}

std::string Fields::string(const char* key, const std::string& if_absent) const {
  const json* const value = find(key);
  if (value == nullptr) return if_absent;
  if (!value->is_string()) wrong(key, *value, "a string");
  return value->get<std::string>();
}

std::vector<std::string> Fields::strings(const char* key, std::size_t most) const {
  const json* const value = find(key);
  if (value == nullptr) return {};
  if (value->is_string()) return {value->get<std::string>()};
  const std::string expected = fmt::format("a string or a list of up to {} strings", most);
  if (!value->is_array() || value->size() > most) wrong(key, *value, expected);
  std::vector<std::string> list;
  for (const json& item : *value) {
    if (!item.is_string()) wrong(key, item, expected);
    list.push_back(item.get<std::string>());
  }
  return list;
}

std::vector<std::int32_t> Fields::ids(const char* key) const {
  const json* const value = find(key);
  if (value == nullptr) throw bad_request(fmt::format("'{}' is missing", name(key)), name(key));
  return id_list(*value, name(key));
}

std::vector<std::int32_t> id_list(const json& list, const std::string& name) {
  if (!list.is_array()) refuse(name, list, "a list of token ids");
  std::vector<std::int32_t> ids;
  ids.reserve(list.size());
  for (const json& item : list) {
    const bool fits = item.is_number_unsigned() &&
                      item.get<std::uint64_t>() <=
                          static_cast<std::uint64_t>(std::numeric_limits<std::int32_t>::max());
    if (!fits) refuse(name, item, "a list of token ids");
    ids.push_back(item.get<std::int32_t>());
  }
  return ids;
}

}  // namespace conclave::serve
