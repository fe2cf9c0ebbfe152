// GgufMetadata and GgufArray of gguf.h.
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <type_traits>

#include "base/error.h"
#include "io/gguf.h"

namespace conclave::io {
namespace {

// Calls visit(T) with each number of an array.
template <class T, class Visit>
void each(const std::vector<std::byte>& bytes, const Visit& visit) {
  for (std::size_t at = 0; at + sizeof(T) <= bytes.size(); at += sizeof(T)) {
    T value;
    std::memcpy(&value, bytes.data() + at, sizeof(T));
    visit(value);
  }
}

template <class Visit>
bool each_number(const GgufArray& array, const Visit& visit) {
  switch (array.item) {
    case GgufKind::kU8:
      return each<std::uint8_t>(array.numbers, visit), true;
    case GgufKind::kI8:
      return each<std::int8_t>(array.numbers, visit), true;
    case GgufKind::kU16:
      return each<std::uint16_t>(array.numbers, visit), true;
    case GgufKind::kI16:
      return each<std::int16_t>(array.numbers, visit), true;
    case GgufKind::kU32:
      return each<std::uint32_t>(array.numbers, visit), true;
    case GgufKind::kI32:
      return each<std::int32_t>(array.numbers, visit), true;
    case GgufKind::kU64:
      return each<std::uint64_t>(array.numbers, visit), true;
    case GgufKind::kI64:
      return each<std::int64_t>(array.numbers, visit), true;
    case GgufKind::kF32:
      return each<float>(array.numbers, visit), true;
    case GgufKind::kF64:
      return each<double>(array.numbers, visit), true;
    case GgufKind::kBool:
    case GgufKind::kString:
    case GgufKind::kArray:
      return false;
  }
  return false;
}

template <class T>
constexpr bool kIsInteger = std::is_integral_v<T> && !std::is_same_v<T, bool>;

template <class T>
std::optional<std::int64_t> to_integer(T value) {
  if constexpr (!kIsInteger<T>) {
    return std::nullopt;
  } else {
    if (!std::in_range<std::int64_t>(value)) return std::nullopt;
    return static_cast<std::int64_t>(value);
  }
}

std::string show(const GgufValue& value) {
  return std::visit(
      [](const auto& v) -> std::string {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, GgufArray>) {
          return fmt::format("an array of {}", v.size());
        } else if constexpr (std::is_same_v<T, std::string>) {
          return fmt::format("'{}'", v.substr(0, 60));
        } else {
          return fmt::format("{}", v);
        }
      },
      value);
}

template <class T>
GgufArray array_of(GgufKind item, std::span<const T> values) {
  GgufArray array;
  array.item = item;
  const auto bytes = std::as_bytes(values);
  array.numbers.assign(bytes.begin(), bytes.end());
  return array;
}

}  // namespace

std::size_t GgufArray::size() const {
  switch (item) {
    case GgufKind::kString:
      return strings.size();
    case GgufKind::kArray:
      return arrays.size();
    case GgufKind::kU8:
    case GgufKind::kI8:
    case GgufKind::kBool:
      return numbers.size();
    case GgufKind::kU16:
    case GgufKind::kI16:
      return numbers.size() / 2;
    case GgufKind::kU32:
    case GgufKind::kI32:
    case GgufKind::kF32:
      return numbers.size() / 4;
    case GgufKind::kU64:
    case GgufKind::kI64:
    case GgufKind::kF64:
      return numbers.size() / 8;
  }
  return 0;
}

GgufArray GgufArray::of(std::span<const std::int32_t> values) {
  return array_of(GgufKind::kI32, values);
}

GgufArray GgufArray::of(std::span<const float> values) { return array_of(GgufKind::kF32, values); }

GgufArray GgufArray::of(const std::vector<std::string>& values) {
  GgufArray array;
  array.item = GgufKind::kString;
  for (const std::string& value : values) array.strings.push_back(value);
  return array;
}

const GgufValue* GgufMetadata::find(std::string_view key) const {
  for (const auto& [name, value] : entries_)
    if (name == key) return &value;
  return nullptr;
}

void GgufMetadata::set(std::string key, GgufValue value) {
  for (auto& [name, old] : entries_) {
    if (name == key) {
      old = std::move(value);
      return;
    }
  }
  entries_.emplace_back(std::move(key), std::move(value));
}

void GgufMetadata::fail_at(std::string_view key, const std::string& message) const {
  fail(ErrorKind::kBadFile, "{}: key '{}': {}", file_name_, key, message);
}

const GgufValue& GgufMetadata::get(std::string_view key, const char* expected) const {
  const GgufValue* const value = find(key);
  if (value == nullptr) fail_at(key, fmt::format("is missing, expected {}", expected));
  return *value;
}

std::int64_t GgufMetadata::integer(std::string_view key, std::int64_t min, std::int64_t max) const {
  const GgufValue& value = get(key, "an integer");
  const auto number = std::visit(
      [](const auto& v) -> std::optional<std::int64_t> {
        if constexpr (std::is_arithmetic_v<std::decay_t<decltype(v)>>) return to_integer(v);
        return std::nullopt;
      },
      value);
  if (!number || *number < min || *number > max) {
    fail_at(key, fmt::format("found {}, expected an integer from {} to {}", show(value), min, max));
  }
  return *number;
}

std::int64_t GgufMetadata::integer(std::string_view key, std::int64_t min, std::int64_t max,
                                   std::int64_t if_absent) const {
  return has(key) ? integer(key, min, max) : if_absent;
}

double GgufMetadata::number(std::string_view key, double min, double max) const {
  const GgufValue& value = get(key, "a number");
  const double number = std::visit(
      [](const auto& v) -> double {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
          return static_cast<double>(v);
        }
        return std::nan("");
      },
      value);
  if (!(number >= min && number <= max)) {
    fail_at(key, fmt::format("found {}, expected a number from {} to {}", show(value), min, max));
  }
  return number;
}

double GgufMetadata::number(std::string_view key, double min, double max, double if_absent) const {
  return has(key) ? number(key, min, max) : if_absent;
}

bool GgufMetadata::boolean(std::string_view key) const {
  const GgufValue& value = get(key, "true or false");
  const bool* const boolean = std::get_if<bool>(&value);
  if (boolean == nullptr) {
    fail_at(key, fmt::format("found {}, expected true or false", show(value)));
  }
  return *boolean;
}

bool GgufMetadata::boolean(std::string_view key, bool if_absent) const {
  return has(key) ? boolean(key) : if_absent;
}

std::string GgufMetadata::string(std::string_view key) const {
  const GgufValue& value = get(key, "a string");
  const std::string* const text = std::get_if<std::string>(&value);
  if (text == nullptr) fail_at(key, fmt::format("found {}, expected a string", show(value)));
  return *text;
}

std::string GgufMetadata::string(std::string_view key, std::string_view if_absent) const {
  return has(key) ? string(key) : std::string(if_absent);
}

std::vector<std::int64_t> GgufMetadata::integers(std::string_view key, std::int64_t min,
                                                 std::int64_t max) const {
  const GgufValue& value = get(key, "a list of integers");
  const GgufArray* const array = std::get_if<GgufArray>(&value);
  if (array == nullptr) return {integer(key, min, max)};
  std::vector<std::int64_t> list;
  const bool numbers = each_number(*array, [&](auto item) {
    const auto number = to_integer(item);
    if (!number || *number < min || *number > max) {
      fail_at(key, fmt::format("entry {} is {}, expected an integer from {} to {}", list.size(),
                               item, min, max));
    }
    list.push_back(*number);
  });
  if (!numbers) fail_at(key, fmt::format("found {} of no numbers", show(value)));
  return list;
}

std::vector<double> GgufMetadata::numbers(std::string_view key) const {
  const GgufValue& value = get(key, "a list of numbers");
  const GgufArray* const array = std::get_if<GgufArray>(&value);
  constexpr double kAny = std::numeric_limits<double>::max();
  if (array == nullptr) return {number(key, -kAny, kAny)};
  std::vector<double> list;
  if (!each_number(*array, [&](auto item) { list.push_back(static_cast<double>(item)); })) {
    fail_at(key, fmt::format("found {} of no numbers", show(value)));
  }
  return list;
}

const StringTable& GgufMetadata::strings(std::string_view key) const {
  const GgufValue& value = get(key, "a list of strings");
  const GgufArray* const array = std::get_if<GgufArray>(&value);
  if (array == nullptr || array->item != GgufKind::kString) {
    fail_at(key, fmt::format("found {}, expected a list of strings", show(value)));
  }
  return array->strings;
}

}  // namespace conclave::io
