#include "text/jinja/number_text.h"

#include <cmath>
#include <cstdlib>
#include <string>

#include "text/jinja/unicode.h"
#include "text/utf8.h"

namespace conclave::text::jinja {
namespace {

// Without white space around it, digits of all scripts as ASCII. Nothing for other characters.
std::optional<std::string> plain_number(std::string_view text) {
  const std::size_t begin = lstrip_begin(text, 0, text.size());
  const std::size_t end = rstrip_end(text, begin, text.size());
  std::string out;
  for (std::size_t i = begin; i < end;) {
    const Utf8Char c = decode_utf8(text, i);
    if (c.value < 0x80) {
      out.push_back(static_cast<char>(c.value));
    } else if (is_decimal(c.value)) {
      out.push_back(static_cast<char>('0' + decimal_value(c.value)));
    } else {
      return std::nullopt;
    }
    i += c.size;
  }
  return out;
}

int digit_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const int letter = (c | 0x20) - 'a';
  return letter >= 0 && letter < 26 ? letter + 10 : 99;
}

bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }

// Digits, point and exponent, with single underscores between digits; underscores are dropped.
std::optional<std::string> plain_real(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '_') {
      if (i == 0 || i + 1 == text.size() || !is_ascii_digit(text[i - 1]) ||
          !is_ascii_digit(text[i + 1])) {
        return std::nullopt;
      }
      continue;
    }
    out.push_back(text[i]);
  }
  std::size_t at = 0;
  const auto digits = [&] {
    const std::size_t begin = at;
    while (at < out.size() && is_ascii_digit(out[at])) ++at;
    return at - begin;
  };
  std::size_t count = digits();
  if (at < out.size() && out[at] == '.') {
    ++at;
    count += digits();
  }
  if (count == 0) return std::nullopt;
  if (at < out.size() && (out[at] | 0x20) == 'e') {
    ++at;
    if (at < out.size() && (out[at] == '+' || out[at] == '-')) ++at;
    if (digits() == 0) return std::nullopt;
  }
  return at == out.size() ? std::optional(out) : std::nullopt;
}

}  // namespace

std::optional<BigInt> read_integer(Runtime& rt, std::string_view text, int base) {
  const auto plain = plain_number(text);
  if (!plain || plain->empty()) return std::nullopt;
  std::string_view rest = *plain;
  const bool negative = rest[0] == '-';
  if (rest[0] == '-' || rest[0] == '+') rest.remove_prefix(1);
  const char kind = rest.size() > 1 && rest[0] == '0' ? static_cast<char>(rest[1] | 0x20) : '\0';
  const int prefix = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 0;
  if (prefix != 0 && (base == 0 || base == prefix)) {
    rest.remove_prefix(2);
    if (rest.starts_with('_')) rest.remove_prefix(1);
    base = prefix;
  } else if (base == 0) {
    base = 10;
    if (rest.size() > 1 && rest[0] == '0' && rest.find_first_not_of("0_") != rest.npos) {
      return std::nullopt;
    }
  }
  std::string digits;
  for (std::size_t i = 0; i < rest.size(); ++i) {
    if (rest[i] == '_') {
      if (i == 0 || i + 1 == rest.size() || rest[i + 1] == '_') return std::nullopt;
      continue;
    }
    if (digit_value(rest[i]) >= base) return std::nullopt;
    digits.push_back(rest[i]);
  }
  if (digits.empty()) return std::nullopt;
  if (digits.size() > 4300) return std::nullopt;
  rt.step(digits.size());
  const BigInt value = BigInt::from_digits(digits, base);
  return negative ? -value : value;
}

std::optional<double> read_real(std::string_view text) {
  const auto plain = plain_number(text);
  if (!plain || plain->empty()) return std::nullopt;
  std::string_view rest = *plain;
  const bool negative = rest[0] == '-';
  if (rest[0] == '-' || rest[0] == '+') rest.remove_prefix(1);
  std::string lower;
  if (rest.size() < 9) {
    for (const char c : rest) lower.push_back(static_cast<char>(c | 0x20));
  }
  double value = 0;
  if (lower == "inf" || lower == "infinity") {
    value = HUGE_VAL;
  } else if (lower == "nan") {
    value = std::strtod("nan", nullptr);
  } else {
    const auto digits = plain_real(rest);
    if (!digits) return std::nullopt;
    value = std::strtod(digits->c_str(), nullptr);
  }
  return negative ? -value : value;
}

}  // namespace conclave::text::jinja
