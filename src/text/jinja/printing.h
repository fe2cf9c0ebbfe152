// Values as text: str(), repr() and json.dumps() of Python.
//
// Marks: a string keeps those of its bytes, and escapes have the mark of what they stand for.
// Numbers, True and None are the template's; brackets, quotes, commas and colons of containers
// count as input, since a user who controls a value controls how it nests.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/marked_text.h"
#include "text/jinja/runtime.h"
#include "text/jinja/value.h"

namespace conclave::text::jinja {

// str(value): what {{ value }} prints.
MarkedText to_text(Runtime& rt, const Value& value);
void append_text(Runtime& rt, MarkedText& out, const Value& value);
// repr(value)
MarkedText to_repr(Runtime& rt, const Value& value);
std::string repr_text(Runtime& rt, std::string_view text);

// repr of a float: the shortest digits that read back the same.
std::string float_text(double value);

struct JsonOptions {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool pretty = false;  // one item a line, behind `indent` times the level
  std::string indent;
  MarkedText item_separator, key_separator;
};
// Throws Error(kInvalidArgument) for what json.dumps refuses.
MarkedText to_json(Runtime& rt, const Value& value, const JsonOptions& options);

}  // namespace conclave::text::jinja
