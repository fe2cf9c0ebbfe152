// Values of a schema that are no containers: enum and const, types, strings, numbers.

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "infer/grammar/pattern.h"
#include "infer/grammar/schema_compiler.h"

namespace conclave::infer::grammar {

namespace {

constexpr std::int64_t kMostCount = 100'000;  // of minItems, maxLength, ...
constexpr double kLargestBound = 1e15;        // integers up to there are exact in a double
constexpr std::int64_t kLargestNumber = 99'999'999'999'999'999;  // 17 digits, as without bounds

struct Format {
  const char* name;
  const char* pattern;
};
constexpr const char* kDate =
    "((?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]["
    "0-"
    "9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|(?:[0-9]{2}(?:0["
    "48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)-02-29)";
constexpr const char* kTime =
    "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-"
    "5]["
    "0-9])";
constexpr Format kFormats[] = {
    {"uuid", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"},
    {"ipv4",
     "(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]"
     "?["
     "0-9])"},
    {"email",
     "[A-Za-z0-9_+-]{1,32}(?:\\.[A-Za-z0-9_+-]{1,31}){0,1}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-"
     "Za-"
     "z0-9])?\\.){1,4}[A-Za-z]{2,16}"},
};

}  // namespace

std::set<std::string> SchemaCompiler::named_types(const Keywords& k) const {
  static const std::set<std::string> kAll = {"object",  "array",   "string", "number",
                                             "integer", "boolean", "null"};
  const auto found = k.values.find("type");
  std::set<std::string> types;
  if (found == k.values.end()) return types;
  bool begun = false;
  for (const int node : found->second) {
    std::set<std::string> here;
    const std::vector<int> names = tree_.is_array(node) ? tree_.children(node) : std::vector{node};
    for (const int name : names) {
      if (!tree_.is_string(name) || !kAll.contains(tree_.text(name))) {
        refuse(node, "type",
               "found " + tree_.dump(name).substr(0, 60) + ", expected the name of a type");
      }
      here.insert(tree_.text(name));
    }
    if (here.empty()) refuse(node, "type", "expected a type or a list of types");
    if (here.contains("number")) here.insert("integer");
    std::set<std::string> both;
    std::set_intersection(types.begin(), types.end(), here.begin(), here.end(),
                          std::inserter(both, both.end()));
    types = std::exchange(begun, true) ? both : here;
  }
  return types;
}

// Without `type`, the kind of value that the other keywords are about.
std::set<std::string> SchemaCompiler::types_of(const Keywords& k) const {
  if (k.has("type")) return named_types(k);
  std::set<std::string> types;
  if (k.has_any({"properties", "required", "additionalProperties"})) types.insert("object");
  if (k.has_any({"items", "prefixItems", "minItems", "maxItems"})) types.insert("array");
  if (k.has_any({"minLength", "maxLength", "pattern", "format"})) types.insert("string");
  if (k.has_any({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})) {
    types.insert("number");
  }
  if (!types.empty()) return types;
  return {"object", "array", "string", "number", "boolean", "null"};
}

std::optional<ExprId> SchemaCompiler::values(const Keywords& k) {
  if (!k.has_any({"enum", "const"})) return std::nullopt;
  std::optional<std::vector<std::string>> left;  // texts that all of them have
  const auto keep = [&](const std::vector<int>& nodes) {
    std::vector<std::string> texts;
    for (const int node : nodes) {
      std::string text = tree_.dump(node);
      const bool wanted = !left || std::find(left->begin(), left->end(), text) != left->end();
      if (wanted) texts.push_back(std::move(text));
    }
    left = std::move(texts);
  };
  int where = Tree::kNone;
  for (const auto& [key, nodes] : k.values) {
    if (key != "enum" && key != "const" && key != "type") {
      refuse(nodes[0], key, "beside enum or const this keyword is not supported");
    }
    for (const int node : nodes) {
      if (key == "type") continue;
      where = node;
      if (key == "enum" && !tree_.is_array(node)) refuse(node, key, "expected a list of values");
      keep(key == "enum" ? tree_.children(node) : std::vector{node});
    }
  }
  const std::set<std::string> types = named_types(k);
  const auto fits = [&](const std::string& text) {
    if (types.empty()) return true;
    const char c = text[0];
    if (c == '{') return types.contains("object");
    if (c == '[') return types.contains("array");
    if (c == '"') return types.contains("string");
    if (c == 't' || c == 'f') return types.contains("boolean");
    if (c == 'n') return types.contains("null");
    const bool whole = text.find_first_of(".eE") == std::string::npos;
    return types.contains(whole ? "integer" : "number");
  };
  std::erase_if(*left, [&](const std::string& text) { return !fits(text); });
  if (left->empty()) refuse(where, tree_.key(where), "no value is left that fits");
  std::vector<ExprId> made;
  for (const std::string& text : *left) made.push_back(b_.bytes(text));
  return b_.alt(std::move(made));
}

std::int64_t SchemaCompiler::count_of(const Keywords& k, const char* key, bool largest,
                                      std::int64_t if_absent) const {
  const auto found = k.values.find(key);
  if (found == k.values.end()) return if_absent;
  std::int64_t value = -1;
  for (const int node : found->second) {
    const double number = std::strtod(tree_.text(node).c_str(), nullptr);
    const bool is_number =
        tree_.type(node) == Tree::Type::kInteger || tree_.type(node) == Tree::Type::kNumber;
    if (!is_number || number < 0 || number > static_cast<double>(kMostCount) ||
        number != std::floor(number)) {
      refuse(node, key,
             fmt::format("found {}, expected an integer from 0 to {}",
                         tree_.dump(node).substr(0, 60), kMostCount));
    }
    const auto count = static_cast<std::int64_t>(number);
    value = value < 0 ? count : (largest ? std::max(value, count) : std::min(value, count));
  }
  return value;
}

ExprId SchemaCompiler::format(int node) {
  const std::string name = tree_.text(node);
  for (const Format& f : kFormats) {
    if (name == f.name) return compile_pattern("^(?:" + std::string(f.pattern) + ")$", parts_);
  }
  const std::string date = kDate, time = kTime;
  if (name == "date") return compile_pattern("^" + date + "$", parts_);
  if (name == "time") return compile_pattern("^" + time + "$", parts_);
  if (name == "date-time") return compile_pattern("^" + date + "T" + time + "$", parts_);
  refuse(node, "format", "'" + name.substr(0, 60) + "' is not supported");
}

ExprId SchemaCompiler::string(const Keywords& k) {
  const std::int64_t min = count_of(k, "minLength", true, 0);
  const std::int64_t max = count_of(k, "maxLength", false, -1);
  if (max >= 0 && max < min) return b_.alt({});
  for (const char* key : {"pattern", "format"}) {
    const auto found = k.values.find(key);
    if (found == k.values.end()) continue;
    const int node = found->second[0];
    if (!tree_.is_string(node)) refuse(node, key, "expected a string");
    const bool alone = found->second.size() == 1 && !k.has_any({"minLength", "maxLength"}) &&
                       !(k.has("pattern") && k.has("format"));
    if (!alone) {
      refuse(node, key,
             "together with another pattern, format, minLength or maxLength this is not "
             "supported");
    }
    if (key == std::string_view("format")) return parts_.quoted(format(node));
    try {
      return parts_.quoted(compile_pattern(tree_.text(node), parts_));
    } catch (const Error& error) {
      refuse(node, key, error.what());
    }
  }
  return parts_.string(static_cast<int>(min), static_cast<int>(max));
}

SchemaCompiler::Bounds SchemaCompiler::bounds_of(const Keywords& k) const {
  Bounds b = {-kLargestNumber, kLargestNumber, -kLargestNumber, kLargestNumber};
  for (const char* key : {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}) {
    const auto found = k.values.find(key);
    if (found == k.values.end()) continue;
    for (const int node : found->second) {
      const double value = std::strtod(tree_.text(node).c_str(), nullptr);
      const bool is_number =
          tree_.type(node) == Tree::Type::kInteger || tree_.type(node) == Tree::Type::kNumber;
      if (!is_number) refuse(node, key, "expected a number");
      if (!(std::abs(value) <= kLargestBound)) {
        refuse(node, key, "numbers beyond 1e15 are not supported");
      }
      const std::string_view name = key;
      const bool exclusive = name.starts_with("exclusive");
      const auto down = static_cast<std::int64_t>(std::floor(value));
      const auto up = static_cast<std::int64_t>(std::ceil(value));
      const bool whole = down == up;
      if (name.ends_with("inimum")) {
        b.low = std::max(b.low, exclusive && whole ? up + 1 : up);
        b.floor = std::max(b.floor, up);
      } else {
        b.high = std::min(b.high, exclusive && whole ? down - 1 : down);
        b.ceiling = std::min(b.ceiling, down);
      }
      b.any = true;
    }
  }
  return b;
}

ExprId SchemaCompiler::number(const Keywords& k, bool integer) {
  const Bounds b = bounds_of(k);
  if (!b.any) return integer ? parts_.integer() : parts_.number();
  if (integer) return b.low <= b.high ? parts_.integer(b.low, b.high) : b_.alt({});
  if (b.low > b.high && b.floor >= b.ceiling) {
    const auto& first = *std::find_if(k.values.begin(), k.values.end(), [](const auto& value) {
      return value.first.ends_with("imum");
    });
    refuse(first.second[0], first.first,
           "bounds within which there is no whole number are not supported");
  }
  return parts_.number(b.low, b.high, b.floor, b.ceiling);
}

}  // namespace conclave::infer::grammar
