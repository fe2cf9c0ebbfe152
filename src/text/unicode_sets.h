// Sets of characters as the libraries have them whose ids are to be matched; their tables are of
// several Unicode versions.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "text/code_points.h"

namespace conclave::text {

// Punctuation of Unicode 8, and ASCII's symbols.
std::span<const CodeRange> punctuation();
// What BERT's cleaning takes out: control, format and private characters, U+FFFD, but not tab and
// line ends.
std::span<const CodeRange> bert_control();
// What BERT takes for accents, after decomposition.
std::span<const CodeRange> bert_marks();
// Combining marks of Unicode 9.
std::span<const CodeRange> combining_marks();
// Characters that newer Unicode decomposes, composes or reorders, but the library leaves alone.
std::span<const CodeRange> inert_in_normal_forms();

// Lower case of each character by itself. Bytes that are not UTF-8 stay.
std::string lowercase(std::string_view text);

}  // namespace conclave::text
