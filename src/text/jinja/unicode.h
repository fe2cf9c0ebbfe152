// What Python's str knows about characters: white space, letters, digits, case. Unicode's data come
// from utf8proc; the full case mappings that it lacks are in unicode_case.inc.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace conclave::text::jinja {

// str.isspace for one character.
bool is_space(char32_t c);
// [begin, end) of `text` without white space at its beginning: the new beginning.
std::size_t lstrip_begin(std::string_view text, std::size_t begin, std::size_t end);
std::size_t rstrip_end(std::string_view text, std::size_t begin, std::size_t end);

// The end of the longest run of \w at `at`.
std::size_t name_end(std::string_view text, std::size_t at);
bool is_identifier(std::string_view text);

bool is_alpha(char32_t c);    // category L*
bool is_decimal(char32_t c);  // category Nd
bool is_digit(char32_t c);    // also superscripts and the like
bool is_numeric(char32_t c);  // any N*, and CJK numbers
bool is_word(char32_t c);     // \w: alphanumeric or _
bool is_printable(char32_t c);
bool is_upper(char32_t c);  // Uppercase
bool is_lower(char32_t c);  // Lowercase
bool is_title(char32_t c);  // category Lt
bool is_cased(char32_t c);
bool is_case_ignorable(char32_t c);
// The value 0 to 9 of a decimal digit of any script.
int decimal_value(char32_t c);

enum class CaseMapping { kLower, kUpper, kTitle, kFold };
// Appends the full mapping of one character, without context (final sigma is in lower_text).
void append_mapped(std::string& out, char32_t c, CaseMapping mapping);

}  // namespace conclave::text::jinja
