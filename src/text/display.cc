#include "text/display.h"

#include <fmt/format.h>

#include "text/utf8.h"

namespace conclave::text {

std::string display_text(std::string_view text) {
  constexpr std::size_t kMost = 60;
  std::string out;
  std::size_t i = 0;
  while (i < text.size() && out.size() < kMost) {
    const Utf8Char character = decode_utf8(text, i);
    if (character.value == kInvalidChar || character.value < 0x20 || character.value == 0x7f) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[i]));
    } else {
      out += text.substr(i, character.size);
    }
    i += character.size;
  }
  if (i < text.size()) out += fmt::format("... ({} bytes)", text.size());
  return out;
}

}  // namespace conclave::text
