#include "text/jinja/string_literal.h"

#include <fmt/format.h>

#include "text/utf8.h"

namespace conclave::text::jinja {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const int letter = (c | 0x20) - 'a';
  return letter >= 0 && letter < 6 ? letter + 10 : -1;
}

// Reads exactly `count` hexadecimal digits at `at`.
bool read_hex(std::string_view text, std::size_t& at, int count, char32_t& value) {
  value = 0;
  for (int i = 0; i < count; ++i, ++at) {
    const int digit = at < text.size() ? hex_value(text[at]) : -1;
    if (digit < 0) return false;
    value = value * 16 + static_cast<char32_t>(digit);
  }
  return true;
}

const char* append_code(std::string& out, char32_t value) {
  if (value > 0x10ffff) return "a string has a character beyond \\U0010ffff";
  if (value >= 0xd800 && value < 0xe000) return "a string has half a surrogate pair";
  append_utf8(out, value);
  return nullptr;
}

char plain_escape(char c) {
  switch (c) {
    case '\\':
    case '\'':
    case '"':
      return c;
    case 'a':
      return '\a';
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'v':
      return '\v';
    default:
      return '\0';
  }
}

// `at` is behind the backslash.
const char* unescape_one(std::string_view text, std::size_t& at, std::string& out) {
  const char c = text[at];
  if (const char plain = plain_escape(c)) {
    out.push_back(plain);
    ++at;
    return nullptr;
  }
  if (c == '\n') {
    ++at;
    return nullptr;
  }
  char32_t value = 0;
  if (c == 'x' || c == 'u' || c == 'U') {
    ++at;
    if (!read_hex(text, at, c == 'x' ? 2 : c == 'u' ? 4 : 8, value)) {
      return "a string has an escape with too few hexadecimal digits";
    }
    return append_code(out, value);
  }
  if (c == 'N') return "\\N{...} in strings is not supported";
  if (c >= '0' && c <= '7') {
    for (int i = 0; i < 3 && at < text.size() && text[at] >= '0' && text[at] <= '7'; ++i, ++at) {
      value = value * 8 + static_cast<char32_t>(text[at] - '0');
    }
    return append_code(out, value);
  }
  out.push_back('\\');
  if (static_cast<unsigned char>(c) < 0x80) {
    out.push_back(c);
    ++at;
    return nullptr;
  }
  // jinja2 spells other characters as escapes before it reads escapes, so that the backslash of
  // the text escapes the backslash of the spelling.
  const Utf8Char other = decode_utf8(text, at);
  at += other.size;
  const auto code = static_cast<std::uint32_t>(other.value);
  out += code < 0x100     ? fmt::format("x{:02x}", code)
         : code < 0x10000 ? fmt::format("u{:04x}", code)
                          : fmt::format("U{:08x}", code);
  return nullptr;
}

}  // namespace

const char* unescape_literal(std::string_view inner, std::string& out) {
  for (std::size_t at = 0; at < inner.size();) {
    if (inner[at] != '\\') {
      out.push_back(inner[at++]);
      continue;
    }
    if (++at == inner.size()) return "a string ends in a backslash";
    if (const char* problem = unescape_one(inner, at, out)) return problem;
  }
  return nullptr;
}

}  // namespace conclave::text::jinja
