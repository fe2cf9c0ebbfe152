// Escapes in the string literals of templates: those of Python's unicode-escape codec.
#pragma once

#include <string>
#include <string_view>

namespace conclave::text::jinja {

// Appends the value of the literal whose inside is `inner` (UTF-8) to `out`. Returns what is wrong
// with it, or null. Lone surrogates (\ud800) are wrong: they are not text that a tokenizer takes.
const char* unescape_literal(std::string_view inner, std::string& out);

}  // namespace conclave::text::jinja
