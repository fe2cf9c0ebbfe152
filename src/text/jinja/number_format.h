// The format specification of Python ("{:>8.2f}", and the flags of %), for numbers and texts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "text/jinja/marked_text.h"
#include "text/jinja/runtime.h"
#include "text/jinja/value.h"

namespace conclave::text::jinja {

struct FormatSpec {
  std::string fill = " ";  // one character
  char align = '\0';       // < > = ^
  char sign = '-';         // + - space
  bool alternate = false;
  char grouping = '\0';  // , _
  std::int64_t width = 0;
  std::int64_t precision = -1;
  char type = '\0';
};

// Throws Error(kInvalidArgument) for what Python refuses.
FormatSpec parse_format_spec(Runtime& rt, std::string_view spec, std::string_view type);
// `value` is a number, or a whole number for the types b c d o x X. No width yet.
std::string format_digits(Runtime& rt, const FormatSpec& spec, const Value& value);
// Puts fill around `text`; `digits` says that = goes between the sign and the digits.
MarkedText format_width(Runtime& rt, const FormatSpec& spec, const MarkedText& text, bool digits);

}  // namespace conclave::text::jinja
