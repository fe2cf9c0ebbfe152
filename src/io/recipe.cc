#include "io/recipe.h"

#include <toml++/toml.h>
#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "io/json.h"
#include "io/nearest_name.h"
#include "sys/files.h"

namespace conclave::io {
namespace {

constexpr std::uint64_t kMaxBytes = 1 << 20;
// The parser limits nested brackets itself, but not the parts of a dotted key, whose tables it
// would nest, and free, by recursion.
constexpr int kMaxDots = 256;
constexpr std::size_t kMaxName = 200;  // of an unknown key that is compared with the known ones

enum Kind { kInteger, kReal, kBool, kString, kIntegers, kReals, kStrings };

Kind kind_of(const RecipeValue& value) { return static_cast<Kind>(value.index()); }

const char* kind_name(Kind kind) {
  constexpr const char* kNames[] = {"an integer",       "a number",           "true or false",
                                    "a string",         "a list of integers", "a list of numbers",
                                    "a list of strings"};
  return kNames[kind];
}

std::string format_real(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

// A TOML basic string. JSON's escapes are TOML's, but for DEL, which TOML wants escaped.
std::string format_string(const std::string& value) {
  std::string text;
  for (const char c : json_quote(value)) {
    if (c == '\x7f') {
      text += "\\u007f";
    } else {
      text += c;
    }
  }
  return text;
}

template <class T, class Format>
std::string format_list(const std::vector<T>& items, Format format) {
  std::string text = "[";
  for (const T& item : items) text += (text.size() > 1 ? ", " : "") + format(item);
  return text + "]";
}

std::string format_value(const RecipeValue& value) {
  switch (kind_of(value)) {
    case kInteger:
      return std::to_string(std::get<std::int64_t>(value));
    case kReal:
      return format_real(std::get<double>(value));
    case kBool:
      return std::get<bool>(value) ? "true" : "false";
    case kString:
      return format_string(std::get<std::string>(value));
    case kIntegers:
      return format_list(std::get<std::vector<std::int64_t>>(value),
                         [](std::int64_t i) { return std::to_string(i); });
    case kReals:
      return format_list(std::get<std::vector<double>>(value), format_real);
    case kStrings:
      return format_list(std::get<std::vector<std::string>>(value), format_string);
  }
  return "";
}

std::string show(const RecipeValue& value) {
  std::string text = format_value(value);
  return text.size() > 60 ? text.substr(0, 57) + "..." : text;
}

// The numbers in a value, for the range check.
std::vector<double> numbers_in(const RecipeValue& value) {
  switch (kind_of(value)) {
    case kInteger:
      return {static_cast<double>(std::get<std::int64_t>(value))};
    case kReal:
      return {std::get<double>(value)};
    case kIntegers: {
      const auto& list = std::get<std::vector<std::int64_t>>(value);
      return {list.begin(), list.end()};
    }
    case kReals:
      return std::get<std::vector<double>>(value);
    default:
      return {};
  }
}

// What is wrong with a value of the right type, or "".
std::string complaint(const RecipeKey& key, const RecipeValue& value) {
  for (const double number : numbers_in(value)) {
    if (number >= key.min && number <= key.max) continue;
    return fmt::format("found {}, expected {} from {} to {}", show(value),
                       kind_name(kind_of(key.default_value)), key.min, key.max);
  }
  if (kind_of(value) == kString && !key.choices.empty() &&
      std::ranges::find(key.choices, std::get<std::string>(value)) == key.choices.end()) {
    return fmt::format("found {}, expected one of {}{}", show(value), fmt::join(key.choices, ", "),
                       did_you_mean(std::get<std::string>(value), key.choices));
  }
  return "";
}

// The value as the kind that is wanted, or nothing. Integers serve as reals, an empty list as any.
std::optional<RecipeValue> convert(RecipeValue value, Kind wanted) {
  const Kind kind = kind_of(value);
  if (kind == wanted) return value;
  if (kind == kInteger && wanted == kReal) {
    return static_cast<double>(std::get<std::int64_t>(value));
  }
  if (kind == kIntegers) {
    const auto& list = std::get<std::vector<std::int64_t>>(value);
    if (wanted == kReals) return std::vector<double>(list.begin(), list.end());
    if (wanted == kStrings && list.empty()) return std::vector<std::string>();
  }
  return std::nullopt;
}

template <class T>
std::optional<RecipeValue> list_of(const toml::array& array) {
  std::vector<T> items;
  for (const toml::node& node : array) {
    const auto item = node.value_exact<T>();
    if (!item) return std::nullopt;
    items.push_back(*item);
  }
  return items;
}

// Integers and reals mixed are reals. Nothing for dates, tables and lists of lists.
std::optional<RecipeValue> from_toml(const toml::node& node) {
  if (const auto value = node.value_exact<std::int64_t>()) return *value;
  if (const auto value = node.value_exact<double>()) return *value;
  if (const auto value = node.value_exact<bool>()) return *value;
  if (const auto value = node.value_exact<std::string>()) return *value;
  const toml::array* const array = node.as_array();
  if (array == nullptr) return std::nullopt;
  if (auto list = list_of<std::int64_t>(*array)) return list;
  if (auto list = list_of<std::string>(*array)) return list;
  std::vector<double> reals;
  for (const toml::node& item : *array) {
    if (!item.is_number()) return std::nullopt;
    reals.push_back(item.value<double>().value());
  }
  return reals;
}

void check_text(std::string_view text, const std::string& file_name) {
  if (text.size() > kMaxBytes) {
    fail(ErrorKind::kBadFile, "{}: holds {} bytes, more than the {} of a recipe", file_name,
         text.size(), kMaxBytes);
  }
  int dots = 0;
  int line = 1;
  for (const char c : text) {
    if (c == '\0') fail(ErrorKind::kBadFile, "{}:{}: a NUL byte: not a recipe", file_name, line);
    if (c == '\n') ++line;
    if (c == '.') ++dots;
    if (c == '\n' || c == '=' || c == ',' || c == '[' || c == '{') dots = 0;
    if (dots > kMaxDots) {
      fail(ErrorKind::kBadFile, "{}:{}: a key of more than {} parts", file_name, line, kMaxDots);
    }
  }
}

toml::table parse(std::string_view text, const std::string& file_name) {
  check_text(text, file_name);
  try {
    return toml::parse(text, file_name);
  } catch (const toml::parse_error& error) {
    fail(ErrorKind::kBadFile, "{}:{}: not TOML: {}", file_name, error.source().begin.line,
         error.description().substr(0, 200));
  }
}

std::string_view trim(std::string_view text) {
  const std::size_t begin = std::min(text.find_first_not_of(" \t"), text.size());
  text.remove_prefix(begin);
  return text.substr(0, text.find_last_not_of(" \t") + 1);
}

// The text of --set as TOML: bare words become strings, a bare list gets its brackets.
std::string as_toml(std::string_view value, Kind kind) {
  if (kind == kString && !value.starts_with('"') && !value.starts_with('\'')) {
    return format_string(std::string(value));
  }
  if ((kind != kStrings && kind != kIntegers && kind != kReals) || value.starts_with('[')) {
    return std::string(value);
  }
  if (kind != kStrings || value.starts_with('"') || value.starts_with('\'')) {
    return fmt::format("[{}]", value);
  }
  std::string list = "[";
  for (std::size_t begin = 0; begin <= value.size();) {
    const std::size_t comma = std::min(value.find(',', begin), value.size());
    list += format_string(std::string(trim(value.substr(begin, comma - begin)))) + ",";
    begin = comma + 1;
  }
  return list + "]";
}

std::string_view last_part(std::string_view key) { return key.substr(key.rfind('.') + 1); }

// " (did you mean ...?)" for a key that is not known: keys with the same last part in another
// section, the first key of a section of that name, or what is near in spelling.
std::string suggest_key(std::string_view key, const std::vector<RecipeKey>& table) {
  constexpr std::size_t kMost = 3;
  const std::string_view last = last_part(key);
  std::vector<std::string> names, same, lasts;
  std::string in_section;
  for (const RecipeKey& row : table) {
    names.push_back(row.key);
    lasts.emplace_back(last_part(row.key));
    if (lasts.back() == last && same.size() < kMost) same.push_back("'" + row.key + "'");
    if (in_section.empty() && row.key.starts_with(std::string(last) + ".")) in_section = row.key;
  }
  if (!same.empty()) return fmt::format(" (did you mean {}?)", fmt::join(same, " or "));
  if (!in_section.empty()) return fmt::format(" (did you mean '{}'?)", in_section);
  if (std::string near = did_you_mean(key, names); !near.empty()) return near;
  const std::string near = nearest_name(last, lasts);
  for (const RecipeKey& row : table) {
    if (!near.empty() && last_part(row.key) == near) {
      return fmt::format(" (did you mean '{}'?)", row.key);
    }
  }
  return "";
}

}  // namespace

Recipe::Recipe(std::vector<RecipeKey> table) : table_(std::move(table)) {
  for (const RecipeKey& key : table_) {
    CONCLAVE_CHECK(complaint(key, key.default_value).empty(), "default of '{}': {}", key.key,
                   complaint(key, key.default_value));
    const bool is_new = slots_.try_emplace(key.key, Slot{key.default_value, "default"}).second;
    CONCLAVE_CHECK(is_new, "recipe key '{}' twice", key.key);
  }
}

const RecipeKey* Recipe::find_key(std::string_view key) const {
  for (const RecipeKey& row : table_)
    if (row.key == key) return &row;
  return nullptr;
}

const RecipeKey& Recipe::known_key(std::string_view key, const std::string& where) const {
  const RecipeKey* const row = find_key(key);
  if (row == nullptr) {
    fail(ErrorKind::kInvalidArgument, "{}: unknown key '{}'{}", where, key.substr(0, 100),
         suggest_key(key.substr(0, kMaxName), table_));
  }
  return *row;
}

void Recipe::assign(const RecipeKey& row, std::optional<RecipeValue> value,
                    const std::string& where) {
  const Kind wanted = kind_of(row.default_value);
  const auto refuse = [&](const std::string& message) {
    fail(ErrorKind::kInvalidArgument, "{}: key '{}': {}", where, row.key, message);
  };
  if (!value)
    refuse(fmt::format("found a date, table or mixed list, expected {}", kind_name(wanted)));
  const auto converted = convert(*value, wanted);
  if (!converted) refuse(fmt::format("found {}, expected {}", show(*value), kind_name(wanted)));
  if (const std::string wrong = complaint(row, *converted); !wrong.empty()) refuse(wrong);
  slots_.find(row.key)->second = {*converted, where};
}

void Recipe::load_file(const std::string& path) {
  load_text(sys::read_file(path, kMaxBytes), path);
}

void Recipe::load_text(std::string_view text, const std::string& file_name) {
  const toml::table root = parse(text, file_name);
  std::vector<std::pair<const toml::table*, std::string>> open = {{&root, ""}};
  while (!open.empty()) {
    const auto [table, prefix] = open.back();
    open.pop_back();
    for (const auto& [name, node] : *table) {
      const std::string key = prefix + std::string(name.str());
      if (node.is_table() && find_key(key) == nullptr) {
        open.emplace_back(node.as_table(), key + ".");
        continue;
      }
      const std::string where = fmt::format("{}:{}", file_name, node.source().begin.line);
      assign(known_key(key, where), from_toml(node), where);
    }
  }
}

void Recipe::set(std::string_view assignment) {
  const std::string where = "--set";
  const std::size_t equals = assignment.find('=');
  if (equals == std::string_view::npos) {
    fail(ErrorKind::kInvalidArgument, "{}: found '{}', expected key=value", where,
         assignment.substr(0, 100));
  }
  const RecipeKey& row = known_key(trim(assignment.substr(0, equals)), where);
  const std::string value =
      as_toml(trim(assignment.substr(equals + 1)), kind_of(row.default_value));
  if (value.find_first_of("\r\n") != std::string::npos || value.empty()) {
    fail(ErrorKind::kInvalidArgument, "{}: key '{}': expected a value on one line", where, row.key);
  }
  const auto table = [&] {
    try {
      return parse("value = " + value, where);
    } catch (const Error&) {  // a word where a number belongs: no need to speak of TOML
      fail(ErrorKind::kInvalidArgument, "{}: key '{}': found {}, expected {}", where, row.key,
           trim(assignment.substr(equals + 1)).substr(0, 60),
           kind_name(kind_of(row.default_value)));
    }
  }();
  assign(row, from_toml(*table.get("value")), where);
}

const Recipe::Slot& Recipe::slot(std::string_view key) const {
  const auto place = slots_.find(key);
  CONCLAVE_CHECK(place != slots_.end(), "no recipe key '{}'", key);
  return place->second;
}

std::int64_t Recipe::integer(std::string_view key) const {
  return std::get<std::int64_t>(slot(key).value);
}
double Recipe::real(std::string_view key) const { return std::get<double>(slot(key).value); }
bool Recipe::boolean(std::string_view key) const { return std::get<bool>(slot(key).value); }
const std::string& Recipe::string(std::string_view key) const {
  return std::get<std::string>(slot(key).value);
}
const std::vector<std::int64_t>& Recipe::integers(std::string_view key) const {
  return std::get<std::vector<std::int64_t>>(slot(key).value);
}
const std::vector<double>& Recipe::reals(std::string_view key) const {
  return std::get<std::vector<double>>(slot(key).value);
}
const std::vector<std::string>& Recipe::strings(std::string_view key) const {
  return std::get<std::vector<std::string>>(slot(key).value);
}

bool Recipe::is_set(std::string_view key) const { return slot(key).origin != "default"; }
const std::string& Recipe::origin(std::string_view key) const { return slot(key).origin; }

void Recipe::fail_at(std::string_view key, const std::string& message) const {
  fail(ErrorKind::kInvalidArgument, "{}: key '{}': {}", origin(key), key, message);
}

std::string Recipe::to_toml() const {
  std::string text;
  for (const RecipeKey& row : table_) {
    text += fmt::format("# {}\n{} = {}\n", row.help, row.key, format_value(slot(row.key).value));
  }
  return text;
}

}  // namespace conclave::io
