#include "io/json.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/json_sax.h"
#include "sys/files.h"

namespace conclave::io {

using nlohmann::json;

namespace {

// Builds the tree. Parents outlive their open child and do not move while it is open, so a stack of
// pointers is enough.
class TreeBuilder final : public JsonEvents {
 public:
  TreeBuilder(json& root, bool allow_duplicate_keys)
      : root_(root), allow_duplicate_keys_(allow_duplicate_keys) {}

  bool null() override { return put(nullptr) != nullptr; }
  bool boolean(bool value) override { return put(value) != nullptr; }
  bool number_integer(std::int64_t value) override { return put(value) != nullptr; }
  bool number_unsigned(std::uint64_t value) override { return put(value) != nullptr; }
  bool number_float(double value, const std::string&) override { return put(value) != nullptr; }
  bool string(std::string& value) override { return put(std::move(value)) != nullptr; }

  bool on_start(bool is_object) override {
    json* const container = put(is_object ? json::object() : json::array());
    open_.push_back(container);
    return true;
  }
  bool on_end() override {
    open_.pop_back();
    return true;
  }
  bool key(std::string& name) override {
    json::object_t& members = open_.back()->get_ref<json::object_t&>();
    const auto [place, is_new] = members.try_emplace(name, nullptr);
    if (!is_new && !allow_duplicate_keys_) {
      return refuse(fmt::format("key '{}' occurs twice in one object", name.substr(0, 100)));
    }
    member_ = &place->second;
    return true;
  }

 private:
  json* put(json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (open_.back()->is_array()) {
      auto& items = open_.back()->get_ref<json::array_t&>();
      items.push_back(std::move(value));
      return &items.back();
    }
    *member_ = std::move(value);
    return member_;
  }

  json& root_;
  bool allow_duplicate_keys_;
  std::vector<json*> open_;
  json* member_ = nullptr;
};

// A value as it is shown in an error.
std::string show(const json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return fmt::format("a list of {}", value.size());
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

}  // namespace

bool JsonEvents::descend() {
  if (++depth_ > max_depth_) return refuse(fmt::format("nested deeper than {} levels", max_depth_));
  return true;
}

bool JsonEvents::refuse(std::string message) {
  error_ = std::move(message);
  return false;
}

bool JsonEvents::parse_error(std::size_t, const std::string&, const json::exception& error) {
  // "[json.exception.parse_error.101] parse error at line 1, column 2: ... - reason; last read:
  // ..."
  std::string_view text = error.what();
  if (const auto end = text.find("] "); text.starts_with('[') && end != text.npos) {
    text.remove_prefix(end + 2);
  }
  text = text.substr(0, std::min(text.find("; last read"), std::size_t{200}));
  return refuse(fmt::format("not JSON: {}", text));
}

void parse_json_events(std::string_view text, const std::string& file_name,
                       const JsonLimits& limits, JsonEvents& events) {
  if (text.size() > limits.max_bytes) {
    fail(ErrorKind::kBadFile, "{}: JSON of {} bytes, more than the {} allowed", file_name,
         text.size(), limits.max_bytes);
  }
  // The library takes a NUL byte as the end of the text; no JSON document holds one.
  if (const auto at = text.find('\0'); at != text.npos) {
    fail(ErrorKind::kBadFile, "{}: not JSON: a NUL byte at offset {}", file_name, at);
  }
  events.max_depth_ = limits.max_depth;
  if (!json::sax_parse(text.begin(), text.end(), &events, json::input_format_t::json, true)) {
    fail(ErrorKind::kBadFile, "{}: {}", file_name, events.error_);
  }
}

json parse_json(std::string_view text, const std::string& file_name, const JsonLimits& limits) {
  json root;
  TreeBuilder builder(root, limits.allow_duplicate_keys);
  parse_json_events(text, file_name, limits, builder);
  return root;
}

json read_json_file(const std::string& path, const JsonLimits& limits) {
  return parse_json(sys::read_file(path, limits.max_bytes), path, limits);
}

std::string json_quote(std::string_view text) {
  try {
    return json(text).dump();
  } catch (const json::exception&) {
    fail(ErrorKind::kInvalidArgument, "a text of {} bytes is not UTF-8", text.size());
  }
}

JsonView::JsonView(const json& object, std::string file_name, std::string path)
    : object_(&object), file_name_(std::move(file_name)), path_(std::move(path)) {
  if (object_->is_object()) return;
  fail(ErrorKind::kBadFile, "{}: {}found {}, expected an object", file_name_,
       path_.empty() ? "" : fmt::format("key '{}': ", path_), show(object));
}

void JsonView::fail_at(std::string_view key, const std::string& message) const {
  fail(ErrorKind::kBadFile, "{}: key '{}{}{}': {}", file_name_, path_, path_.empty() ? "" : ".",
       key, message);
}

const json* JsonView::find(std::string_view key) const {
  const auto place = object_->find(key);
  return place == object_->end() || place->is_null() ? nullptr : &*place;
}

const json& JsonView::get(std::string_view key, const char* expected) const {
  const json* const value = find(key);
  if (value == nullptr) fail_at(key, fmt::format("is missing, expected {}", expected));
  return *value;
}

bool JsonView::has(std::string_view key) const { return find(key) != nullptr; }

std::vector<std::string> JsonView::keys() const {
  std::vector<std::string> names;
  for (const auto& [name, value] : object_->items()) names.push_back(name);
  return names;
}

namespace {

// Nothing where `value` is no integer in the range. An integer above 2^63 - 1 is none.
std::optional<std::int64_t> integer_in(const json& value, std::int64_t min, std::int64_t max) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() &&
      value.get<std::uint64_t>() >
          static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    return std::nullopt;
  }
  const auto number = value.get<std::int64_t>();
  if (number < min || number > max) return std::nullopt;
  return number;
}

}  // namespace

std::int64_t JsonView::integer(std::string_view key, std::int64_t min, std::int64_t max) const {
  const json& value = get(key, "an integer");
  const auto number = integer_in(value, min, max);
  if (!number) {
    fail_at(key, fmt::format("found {}, expected an integer from {} to {}", show(value), min, max));
  }
  return *number;
}

std::int64_t JsonView::integer(std::string_view key, std::int64_t min, std::int64_t max,
                               std::int64_t if_absent) const {
  return has(key) ? integer(key, min, max) : if_absent;
}

double JsonView::number(std::string_view key, double min, double max) const {
  const json& value = get(key, "a number");
  const double number = value.is_number() ? value.get<double>() : std::nan("");
  if (!(number >= min && number <= max)) {
    fail_at(key, fmt::format("found {}, expected a number from {} to {}", show(value), min, max));
  }
  return number;
}

double JsonView::number(std::string_view key, double min, double max, double if_absent) const {
  return has(key) ? number(key, min, max) : if_absent;
}

bool JsonView::boolean(std::string_view key) const {
  const json& value = get(key, "true or false");
  if (!value.is_boolean()) {
    fail_at(key, fmt::format("found {}, expected true or false", show(value)));
  }
  return value.get<bool>();
}

bool JsonView::boolean(std::string_view key, bool if_absent) const {
  return has(key) ? boolean(key) : if_absent;
}

std::string JsonView::string(std::string_view key) const {
  const json& value = get(key, "a string");
  if (!value.is_string()) fail_at(key, fmt::format("found {}, expected a string", show(value)));
  return value.get<std::string>();
}

std::string JsonView::string(std::string_view key, std::string_view if_absent) const {
  return has(key) ? string(key) : std::string(if_absent);
}

std::vector<std::int64_t> JsonView::integers(std::string_view key, std::int64_t min,
                                             std::int64_t max) const {
  const json& list = get(key, "a list of integers");
  if (!list.is_array()) {
    fail_at(key, fmt::format("found {}, expected a list of integers", show(list)));
  }
  std::vector<std::int64_t> numbers;
  for (const json& item : list) {
    const auto number = integer_in(item, min, max);
    if (!number) {
      fail_at(key, fmt::format("entry {} is {}, expected an integer from {} to {}", numbers.size(),
                               show(item), min, max));
    }
    numbers.push_back(*number);
  }
  return numbers;
}

std::vector<double> JsonView::numbers(std::string_view key) const {
  const json& list = get(key, "a list of numbers");
  if (!list.is_array()) {
    fail_at(key, fmt::format("found {}, expected a list of numbers", show(list)));
  }
  std::vector<double> numbers;
  for (const json& item : list) {
    if (!item.is_number()) {
      fail_at(key, fmt::format("entry {} is {}, expected a number", numbers.size(), show(item)));
    }
    numbers.push_back(item.get<double>());
  }
  return numbers;
}

std::vector<std::string> JsonView::strings(std::string_view key) const {
  const json& list = get(key, "a list of strings");
  if (!list.is_array()) {
    fail_at(key, fmt::format("found {}, expected a list of strings", show(list)));
  }
  std::vector<std::string> texts;
  for (const json& item : list) {
    if (!item.is_string()) {
      fail_at(key, fmt::format("entry {} is {}, expected a string", texts.size(), show(item)));
    }
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

JsonView JsonView::object(std::string_view key) const {
  const json& value = get(key, "an object");
  return JsonView(value, file_name_,
                  path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key));
}

}  // namespace conclave::io
