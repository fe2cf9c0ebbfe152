#include "text/byte_alphabet.h"

#include <array>

#include "text/utf8.h"

namespace conclave::text {
namespace {

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

constexpr int kShifted = 68;  // bytes that do not stand for themselves

struct Alphabet {
  struct Spelling {
    char bytes[2];
    std::uint8_t size;
  };
  std::array<Spelling, 256> spelling{};
  std::array<std::uint8_t, kShifted> shifted{};  // the bytes of U+0100, U+0101, ...
};

constexpr Alphabet make_alphabet() {
  Alphabet result;
  unsigned n_shifted = 0;
  for (unsigned byte = 0; byte < 256; ++byte) {
    unsigned character = byte;
    if (!stands_for_itself(byte)) {
      result.shifted[n_shifted] = static_cast<std::uint8_t>(byte);
      character = 256 + n_shifted++;
    }
    if (character < 0x80) {
      result.spelling[byte] = {{static_cast<char>(character), 0}, 1};
    } else {
      result.spelling[byte] = {{static_cast<char>(0xc0u | character >> 6),
                                static_cast<char>(0x80u | (character & 0x3fu))},
                               2};
    }
  }
  return result;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

std::string_view byte_to_alphabet(std::uint8_t byte) {
  const auto& spelling = kAlphabet.spelling[byte];
  return {spelling.bytes, spelling.size};
}

std::optional<std::uint8_t> alphabet_to_byte(char32_t character) {
  if (character < 256 && stands_for_itself(character)) return static_cast<std::uint8_t>(character);
  if (character >= 256 && character < 256 + kShifted) return kAlphabet.shifted[character - 256];
  return std::nullopt;
}

void append_alphabet(std::string& out, std::string_view bytes) {
  for (const char byte : bytes) out.append(byte_to_alphabet(static_cast<std::uint8_t>(byte)));
}

std::optional<std::string> from_alphabet(std::string_view spelling) {
  std::string bytes;
  bytes.reserve(spelling.size());
  for (std::size_t i = 0; i < spelling.size();) {
    const Utf8Char character = decode_utf8(spelling, i);
    const auto byte = alphabet_to_byte(character.value);
    if (!byte) return std::nullopt;
    bytes.push_back(static_cast<char>(*byte));
    i += character.size;
  }
  return bytes;
}

}  // namespace conclave::text
