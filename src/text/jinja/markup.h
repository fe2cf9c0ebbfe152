// markupsafe: strings that |escape and |safe make. Autoescaping is off in chat templates, so that
// this shows only where such a string is joined with a plain one.
#pragma once

#include "text/jinja/runtime.h"
#include "text/jinja/value.h"

namespace conclave::text::jinja {

// &, <, >, ' and " as entities, each with the mark of its character.
MarkedText escape_html(Runtime& rt, const MarkedText& text);
// a + b where just one of the two strings is Markup: the other is escaped.
Value add_markup(Runtime& rt, const Value& a, const Value& b);

}  // namespace conclave::text::jinja
