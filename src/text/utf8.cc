#include "text/utf8.h"

namespace conclave::text {
namespace {

// What the first byte says: length of the character, and the range of the second byte, which
// excludes overlong forms, surrogates and values above U+10FFFF.
struct Lead {
  std::uint8_t size;  // 0: begins no character
  std::uint8_t low;
  std::uint8_t high;
};

Lead lead_of(unsigned char byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xc2) return {0, 0, 0};
  if (byte < 0xe0) return {2, 0x80, 0xbf};
  if (byte == 0xe0) return {3, 0xa0, 0xbf};
  if (byte == 0xed) return {3, 0x80, 0x9f};
  if (byte < 0xf0) return {3, 0x80, 0xbf};
  if (byte == 0xf0) return {4, 0x90, 0xbf};
  if (byte < 0xf4) return {4, 0x80, 0xbf};
  if (byte == 0xf4) return {4, 0x80, 0x8f};
  return {0, 0, 0};
}

// Bytes from `position` on that agree with one well-formed character, at most its length.
std::size_t agreeing_bytes(std::string_view text, std::size_t position, const Lead& lead) {
  std::size_t n = 1;
  while (n < lead.size && position + n < text.size()) {
    const auto byte = static_cast<unsigned char>(text[position + n]);
    const bool good = n == 1 ? byte >= lead.low && byte <= lead.high : byte >= 0x80 && byte <= 0xbf;
    if (!good) break;
    ++n;
  }
  return n;
}

}  // namespace

Utf8Char decode_utf8(std::string_view text, std::size_t position) {
  const auto first = static_cast<unsigned char>(text[position]);
  if (first < 0x80) return {first, 1};
  const Lead lead = lead_of(first);
  if (lead.size == 0 || agreeing_bytes(text, position, lead) != lead.size) return {};
  char32_t value = first & (0x7fu >> lead.size);
  for (std::size_t i = 1; i < lead.size; ++i) {
    value = value << 6 | (static_cast<unsigned char>(text[position + i]) & 0x3fu);
  }
  return {value, lead.size};
}

Utf8Char decode_utf8_before(std::string_view text, std::size_t end) {
  for (std::size_t size = 1; size <= 4 && size <= end; ++size) {
    const auto byte = static_cast<unsigned char>(text[end - size]);
    if (byte >= 0x80 && byte <= 0xbf) continue;
    const Utf8Char result = decode_utf8(text.substr(0, end), end - size);
    if (result.size == size) return result;
    break;
  }
  return {};
}

void append_utf8(std::string& out, char32_t value) {
  if (value < 0x80) {
    out.push_back(static_cast<char>(value));
    return;
  }
  const int size = value < 0x800 ? 2 : value < 0x10000 ? 3 : 4;
  out.push_back(static_cast<char>((0xf00u >> size & 0xffu) | value >> 6 * (size - 1)));
  for (int i = size - 2; i >= 0; --i) {
    out.push_back(static_cast<char>(0x80u | (value >> 6 * i & 0x3fu)));
  }
}

std::size_t utf8_prefix(std::string_view text) {
  std::size_t position = 0;
  while (position < text.size()) {
    const auto first = static_cast<unsigned char>(text[position]);
    if (first < 0x80) {
      ++position;
      continue;
    }
    const Lead lead = lead_of(first);
    if (lead.size == 0 || agreeing_bytes(text, position, lead) != lead.size) break;
    position += lead.size;
  }
  return position;
}

bool is_utf8(std::string_view text) { return utf8_prefix(text) == text.size(); }

std::size_t unfinished_utf8(std::string_view text) {
  for (std::size_t size = 1; size <= 3 && size <= text.size(); ++size) {
    const std::size_t position = text.size() - size;
    const auto byte = static_cast<unsigned char>(text[position]);
    if (byte >= 0x80 && byte <= 0xbf) continue;
    const Lead lead = lead_of(byte);
    const bool unfinished = lead.size > size && agreeing_bytes(text, position, lead) == size;
    return unfinished ? size : 0;
  }
  return 0;
}

std::string to_valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (true) {
    const std::size_t good = utf8_prefix(text);
    out.append(text.substr(0, good));
    if (good == text.size()) return out;
    const Lead lead = lead_of(static_cast<unsigned char>(text[good]));
    out.append(kReplacement);
    text.remove_prefix(good + (lead.size == 0 ? 1 : agreeing_bytes(text, good, lead)));
  }
}

}  // namespace conclave::text
