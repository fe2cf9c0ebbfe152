#include "text/jinja/number_format.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/jinja/string_ops.h"
#include "text/utf8.h"

namespace conclave::text::jinja {
namespace {

constexpr std::int64_t kMaxPrecision = 400;

bool is_align(char c) { return c == '<' || c == '>' || c == '=' || c == '^'; }

std::int64_t read_number(Runtime& rt, std::string_view spec, std::size_t& at) {
  std::int64_t value = 0;
  for (; at < spec.size() && spec[at] >= '0' && spec[at] <= '9'; ++at) {
    value = value * 10 + (spec[at] - '0');
    if (value > INT32_MAX) rt.error("Too many decimal digits in format string");
  }
  return value;
}

// Digits of a whole number in base 2, 8 or 16.
std::string based(const BigInt& value, int base) {
  std::string out;
  BigInt rest = value.negative() ? -value : value;
  const BigInt divisor(base);
  while (!rest.zero()) {
    auto [quotient, digit] = BigInt::divide(rest, divisor);
    out.push_back("0123456789abcdef"[*digit.to_int64()]);
    rest = std::move(quotient);
  }
  if (out.empty()) out = "0";
  std::reverse(out.begin(), out.end());
  return out;
}

// Puts `mark` between groups of digits of the whole part.
std::string grouped(const std::string& digits, char mark, std::size_t group) {
  std::size_t whole = 0;
  while (whole < digits.size() && std::isxdigit(static_cast<unsigned char>(digits[whole])) != 0 &&
         (group == 4 || (digits[whole] >= '0' && digits[whole] <= '9'))) {
    ++whole;
  }
  std::string out;
  for (std::size_t i = 0; i < whole; ++i) {
    if (i > 0 && (whole - i) % group == 0) out.push_back(mark);
    out.push_back(digits[i]);
  }
  return out + digits.substr(whole);
}

std::string printed(double value, char type, int precision, bool alternate) {
  const std::string format = std::string(alternate ? "%#.*" : "%.*") + type;
  char buffer[1024];
  const int size = std::snprintf(buffer, sizeof buffer, format.c_str(), precision, value);
  return {buffer, static_cast<std::size_t>(std::clamp(size, 0, int{sizeof buffer} - 1))};
}

// The magnitude of a float.
std::string float_digits(Runtime& rt, const FormatSpec& spec, double value) {
  if (spec.precision > kMaxPrecision) rt.unsupported("a precision above {}", kMaxPrecision);
  const bool upper = spec.type == 'E' || spec.type == 'F' || spec.type == 'G';
  if (!std::isfinite(value)) {
    std::string out = std::isnan(value) ? "nan" : "inf";
    if (upper)
      std::transform(out.begin(), out.end(), out.begin(),
                     [](char c) { return static_cast<char>(c - 32); });
    return spec.type == '%' ? out + "%" : out;
  }
  const int precision = spec.precision < 0 ? 6 : static_cast<int>(spec.precision);
  switch (spec.type) {
    case '%':
      return printed(value * 100, 'f', precision, spec.alternate) + "%";
    case 'n':
      return printed(value, 'g', std::max(precision, 1), spec.alternate);
    case 'g':
    case 'G':
      return printed(value, spec.type, std::max(precision, 1), spec.alternate);
    case '\0': {
      if (spec.precision < 0) return float_text(value);
      // Like g, but a whole number shows .0 and the exponent begins one digit earlier.
      const int digits = std::max(precision, 1);
      std::string exponent = printed(value, 'e', digits - 1, false);
      const int power = std::atoi(exponent.c_str() + exponent.find('e') + 1);
      std::string out = printed(value, 'g', digits, false);
      if (power == digits - 1 && out.find('e') == std::string::npos && digits > 1) {
        out = printed(value, 'e', digits - 1, false);
        std::string mantissa = out.substr(0, out.find('e'));
        while (mantissa.find('.') != std::string::npos &&
               (mantissa.back() == '0' || mantissa.back() == '.')) {
          const bool point = mantissa.back() == '.';
          mantissa.pop_back();
          if (point) break;
        }
        return mantissa + out.substr(out.find('e'));
      }
      if (out.find_first_of(".e") == std::string::npos) out += ".0";
      return out;
    }
    default:
      return printed(value, spec.type, precision, spec.alternate);
  }
}

std::string whole_digits(Runtime& rt, const FormatSpec& spec, const BigInt& value) {
  rt.step(value.bits());
  const BigInt magnitude = value.negative() ? -value : value;
  switch (spec.type) {
    case 'b':
      return (spec.alternate ? "0b" : "") + based(magnitude, 2);
    case 'o':
      return (spec.alternate ? "0o" : "") + based(magnitude, 8);
    case 'x':
      return (spec.alternate ? "0x" : "") + based(magnitude, 16);
    case 'X': {
      std::string out = based(magnitude, 16);
      for (char& c : out) c = static_cast<char>(c >= 'a' ? c - 32 : c);
      return (spec.alternate ? "0X" : "") + out;
    }
    default:
      return magnitude.to_string();
  }
}

}  // namespace

FormatSpec parse_format_spec(Runtime& rt, std::string_view spec, std::string_view type) {
  FormatSpec out;
  std::size_t at = 0;
  if (!spec.empty()) {
    const std::size_t size = decode_utf8(spec, 0).size;
    if (spec.size() > size && is_align(spec[size])) {
      out.fill = spec.substr(0, size);
      out.align = spec[size];
      at = size + 1;
    } else if (is_align(spec[0])) {
      out.align = spec[0];
      at = 1;
    }
  }
  const bool has_fill = at > 1;
  const auto next = [&](char c) { return at < spec.size() && spec[at] == c; };
  if (next('+') || next('-') || next(' ')) out.sign = spec[at++];
  if (next('#')) {
    out.alternate = true;
    ++at;
  }
  if (!has_fill && next('0')) {
    out.fill = "0";
    if (out.align == '\0') out.align = type == "str" ? '<' : '=';
    ++at;
  }
  out.width = read_number(rt, spec, at);
  if (next(',') || next('_')) out.grouping = spec[at++];
  if (next('.')) {
    const std::size_t digits = ++at;
    out.precision = read_number(rt, spec, at);
    if (at == digits) rt.error("Format specifier missing precision");
  }
  if (at + 1 < spec.size()) {
    rt.error("Invalid format specifier '{}' for object of type '{}'", spec, type);
  }
  if (at < spec.size()) out.type = spec[at];
  return out;
}

std::string format_digits(Runtime& rt, const FormatSpec& spec, const Value& value) {
  std::string digits;
  bool negative = false;
  const bool as_float =
      value.is(Kind::kFloat) ||
      (spec.type != '\0' && std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos);
  if (as_float) {
    const double number = as_double(rt, value);
    negative = std::signbit(number) && !std::isnan(number);
    digits = float_digits(rt, spec, std::fabs(number));
  } else {
    const BigInt number = as_big_int(value);
    negative = number.negative();
    digits = whole_digits(rt, spec, number);
  }
  if (spec.grouping != '\0') {
    const bool bits = spec.type == 'b' || spec.type == 'o' || spec.type == 'x' || spec.type == 'X';
    digits = grouped(digits, spec.grouping, bits ? 4 : 3);
  }
  if (negative) return "-" + digits;
  return spec.sign == '-' ? digits : spec.sign + digits;
}

MarkedText format_width(Runtime& rt, const FormatSpec& spec, const MarkedText& text, bool digits) {
  const MarkedText fill(spec.fill, Origin::kTemplate);
  switch (spec.align == '\0' ? (digits ? '>' : '<') : spec.align) {
    case '<':
      return pad(rt, text, Align::kLeft, spec.width, fill);
    case '^': {
      // Unlike center(), the odd one always goes right.
      const auto length = static_cast<std::int64_t>(count_chars(text.view()));
      const std::int64_t left = std::max<std::int64_t>(0, spec.width - length) / 2;
      return pad(rt, pad(rt, text, Align::kRight, length + left, fill), Align::kLeft, spec.width,
                 fill);
    }
    case '=': {
      std::size_t sign = 0;
      while (sign < text.size() &&
             std::string_view("+- ").find(text.view()[sign]) != std::string_view::npos)
        ++sign;
      if (text.size() > sign + 1 && text.view()[sign] == '0' &&
          std::string_view("box").find(static_cast<char>(text.view()[sign + 1] | 0x20)) !=
              std::string_view::npos) {
        sign += 2;
      }
      MarkedText out = text.slice(0, sign);
      out.append(pad(rt, text.slice(sign, text.size()), Align::kRight,
                     spec.width - static_cast<std::int64_t>(sign), fill));
      return out;
    }
    default:
      return pad(rt, text, Align::kRight, spec.width, fill);
  }
}

}  // namespace conclave::text::jinja
