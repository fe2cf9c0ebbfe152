// A validator of JSON values against schemas, for tests only: the plain meaning of each keyword
// that grammars know, written without regard to how the grammars are made.
#pragma once

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>

#include "text/utf8.h"

namespace conclave::infer::grammar::test {

using nlohmann::json;

class SchemaCheck {
 public:
  explicit SchemaCheck(json root) : root_(std::move(root)) {}
  bool operator()(const json& value) const { return valid(root_, value); }

 private:
  static bool is_type(const std::string& type, const json& v) {
    if (type == "integer") {
      return v.is_number_integer() ||
             (v.is_number() && v.get<double>() == std::floor(v.get<double>()));
    }
    if (type == "number") return v.is_number();
    if (type == "string") return v.is_string();
    if (type == "boolean") return v.is_boolean();
    if (type == "null") return v.is_null();
    if (type == "object") return v.is_object();
    return type == "array" && v.is_array();
  }
  static std::size_t length(const std::string& text) {
    std::size_t n = 0;
    for (const char c : text) n += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
    return n;
  }

  bool valid(const json& s, const json& v) const {
    if (s.is_boolean()) return s.get<bool>();
    const auto has = [&](const char* key) { return s.contains(key); };
    if (has("$ref")) {
      const std::string ref = s["$ref"];
      if (!valid(root_.at(json::json_pointer(ref.substr(1))), v)) return false;
    }
    if (has("type")) {
      const json types = s["type"].is_array() ? s["type"] : json::array({s["type"]});
      if (std::none_of(types.begin(), types.end(), [&](const json& t) { return is_type(t, v); })) {
        return false;
      }
    }
    if (has("const") && v != s["const"]) return false;
    if (has("enum") && std::find(s["enum"].begin(), s["enum"].end(), v) == s["enum"].end())
      return false;
    const auto count = [&](const char* key) {
      return static_cast<int>(std::count_if(s[key].begin(), s[key].end(),
                                            [&](const json& part) { return valid(part, v); }));
    };
    if (has("allOf") && count("allOf") != static_cast<int>(s["allOf"].size())) return false;
    if (has("anyOf") && count("anyOf") == 0) return false;
    if (has("oneOf") && count("oneOf") != 1) return false;
    if (v.is_string()) return string(s, v.get<std::string>());
    if (v.is_number()) return number(s, v.get<double>());
    if (v.is_object()) return object(s, v);
    return !v.is_array() || array(s, v);
  }

  static bool string(const json& s, const std::string& v) {
    if (s.contains("minLength") && length(v) < s["minLength"].get<std::size_t>()) return false;
    if (s.contains("maxLength") && length(v) > s["maxLength"].get<std::size_t>()) return false;
    return !s.contains("pattern") ||
           std::regex_search(v, std::regex(s["pattern"].get<std::string>()));
  }
  static bool number(const json& s, double v) {
    return (!s.contains("minimum") || v >= s["minimum"]) &&
           (!s.contains("maximum") || v <= s["maximum"]) &&
           (!s.contains("exclusiveMinimum") || v > s["exclusiveMinimum"]) &&
           (!s.contains("exclusiveMaximum") || v < s["exclusiveMaximum"]);
  }
  bool object(const json& s, const json& v) const {
    for (const json& name : s.value("required", json::array())) {
      if (!v.contains(name.get<std::string>())) return false;
    }
    const json properties = s.value("properties", json::object());
    for (const auto& [name, value] : v.items()) {
      const bool known = properties.contains(name);
      const json schema = known ? properties[name] : s.value("additionalProperties", json(true));
      if (!valid(schema, value)) return false;
    }
    return true;
  }
  bool array(const json& s, const json& v) const {
    if (s.contains("minItems") && v.size() < s["minItems"].get<std::size_t>()) return false;
    if (s.contains("maxItems") && v.size() > s["maxItems"].get<std::size_t>()) return false;
    const json prefix = s.value("prefixItems", json::array());
    for (std::size_t i = 0; i < v.size(); ++i) {
      if (!valid(i < prefix.size() ? prefix[i] : s.value("items", json(true)), v[i])) return false;
    }
    return true;
  }

  json root_;
};

}  // namespace conclave::infer::grammar::test
