// Python's three ways to format: the % operator, str.format, and the format specification that
// both share.
#pragma once

#include "text/jinja/runtime.h"
#include "text/jinja/value.h"

namespace conclave::text::jinja {

// text % values
Value format_percent(Runtime& rt, const Value& text, const Value& values);
// text.format(*args, **kwargs) in jinja2's sandbox
Value format_braces(Runtime& rt, const Value& text, const Args& args);
// format(value, spec)
MarkedText format_value(Runtime& rt, const Value& value, std::string_view spec);

}  // namespace conclave::text::jinja
