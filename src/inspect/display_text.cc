// A bounded UTF-8 reader (RFC 3629) and three ways to write what it finds; see display_text.h.
#include "inspect/display_text.h"

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <iterator>

namespace conclave::inspect {
namespace {

struct Character {
  std::uint32_t code = 0;
  std::size_t bytes = 0;  // 0: the byte at this place starts no valid character
};

Character read_character(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  if (first < 0x80) return {first, 1};
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || at + length > text.size()) return {};
  std::uint32_t code = first & (0xffu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(at + i) & 0x3f);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  if (overlong || surrogate || code > 0x10ffff) return {};
  return {code, length};
}

// Controls, soft hyphen, zero-width and joining marks, line separators, direction marks (which
// would turn around the text that follows), byte order mark, interlinear marks, tags.
bool is_invisible(std::uint32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0xad || code == 0x61c ||
         (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
         (code >= 0x2060 && code <= 0x206f) || code == 0xfeff ||
         (code >= 0xfff9 && code <= 0xfffb) || (code >= 0xe0000 && code <= 0xe007f);
}

enum class Style { kToken, kText, kName };

// Empty: no special form.
std::string_view white_space(std::uint32_t code, Style style) {
  if (style == Style::kToken) {
    if (code == ' ') return "\xe2\x90\xa3";
    if (code == '\n') return "\xe2\x86\xb5";
    if (code == '\t') return "\xe2\x87\xa5";
  } else if (code == '\n' || code == '\t') {
    if (style == Style::kName) return " ";
    return code == '\n' ? "\n" : "\t";
  }
  return {};
}

std::string display(std::string_view text, Style style) {
  std::string shown;
  for (std::size_t at = 0; at < text.size();) {
    const Character character = read_character(text, at);
    if (character.bytes == 0) {
      if (style == Style::kToken) {
        fmt::format_to(std::back_inserter(shown), "<0x{:02X}>",
                       static_cast<unsigned char>(text[at]));
      } else {
        shown += "\xef\xbf\xbd";
      }
      ++at;
      continue;
    }
    if (const std::string_view space = white_space(character.code, style); !space.empty()) {
      shown += space;
    } else if (is_invisible(character.code)) {
      fmt::format_to(std::back_inserter(shown), "<U+{:04X}>", character.code);
    } else {
      shown += text.substr(at, character.bytes);
    }
    at += character.bytes;
  }
  return shown;
}

}  // namespace

std::string display_token(std::string_view bytes) { return display(bytes, Style::kToken); }
std::string display_text(std::string_view bytes) { return display(bytes, Style::kText); }
std::string display_name(std::string_view bytes) { return display(bytes, Style::kName); }

}  // namespace conclave::inspect
