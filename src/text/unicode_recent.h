// Code points that Unicode 15 and 16 added: PCRE2 and utf8proc of the distributions may not know
// them yet, while the tokenizers that ids are compared with do.
#pragma once

#include <string_view>

#include "text/code_points.h"

namespace conclave::text {

// Those whose general category begins with `category` ("L", "Lo", ...).
CodePoints recent_in_category(std::string_view category);
// Those of the script; only for scripts that grew and that patterns use: Han, Hiragana, Katakana.
CodePoints recent_in_script(std::string_view script);

}  // namespace conclave::text
