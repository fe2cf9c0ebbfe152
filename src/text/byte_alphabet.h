// The alphabet of byte-level vocabularies (GPT-2): every byte has a printable character, so that a
// vocabulary can be written as text. Printable Latin-1 bytes stand for themselves, the other 68 for
// U+0100 and up, in order of the byte.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace conclave::text {

// The character that stands for a byte, as UTF-8 (1 or 2 bytes, static storage).
std::string_view byte_to_alphabet(std::uint8_t byte);
// The byte that a character stands for.
std::optional<std::uint8_t> alphabet_to_byte(char32_t character);

// Bytes spelled in the alphabet.
void append_alphabet(std::string& out, std::string_view bytes);
// What a spelling stands for; nullopt if a character is not of the alphabet.
std::optional<std::string> from_alphabet(std::string_view spelling);

}  // namespace conclave::text
