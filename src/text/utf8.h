// UTF-8, as the Unicode standard 15.0 (table 3-7) defines it: no surrogates, no overlong forms,
// nothing above U+10FFFF. Text may hold bytes that are not UTF-8; they are seen one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace conclave::text {

inline constexpr char32_t kInvalidChar = 0xffffffffu;             // a byte that begins no character
inline constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

struct Utf8Char {
  char32_t value = kInvalidChar;
  std::uint32_t size = 1;  // bytes; 1 for an invalid byte
};

// The character that begins at text[position]; position < text.size().
Utf8Char decode_utf8(std::string_view text, std::size_t position);
// The character that ends at text[end - 1]; 0 < end <= text.size().
Utf8Char decode_utf8_before(std::string_view text, std::size_t end);
// Appends a Unicode scalar value.
void append_utf8(std::string& out, char32_t value);

bool is_utf8(std::string_view text);
// Length of the longest beginning of `text` that is UTF-8.
std::size_t utf8_prefix(std::string_view text);
// Bytes at the end of `text` that begin a character but do not finish it: 0 to 3.
std::size_t unfinished_utf8(std::string_view text);
// `text` with each maximal ill-formed part replaced by U+FFFD (Unicode 15.0, section 3.9).
std::string to_valid_utf8(std::string_view text);

}  // namespace conclave::text
