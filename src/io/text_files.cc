#include "io/text_files.h"

#include <cstdint>
#include <cstring>

#include "base/error.h"
#include "sys/files.h"

namespace conclave::io {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

struct Piece {
  std::size_t bytes;  // at least 1
  bool valid;
};

// The character at `text` (Unicode 15, table 3-7), or the longest beginning of one that breaks off.
Piece next_piece(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {1, true};
  if (lead < 0xc2 || lead > 0xf4) return {1, false};
  const std::size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  // The second byte excludes overlong forms, surrogates and what lies above U+10FFFF.
  const unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  for (std::size_t i = 1; i < length; ++i) {
    const bool fits =
        i < text.size() && byte(i) >= (i == 1 ? low : 0x80) && byte(i) <= (i == 1 ? high : 0xbf);
    if (!fits) return {i, false};
  }
  return {length, true};
}

std::size_t skip_ascii(std::string_view text, std::size_t at) {
  while (at + 8 <= text.size()) {
    std::uint64_t word;
    std::memcpy(&word, text.data() + at, 8);
    if ((word & 0x8080808080808080u) != 0) break;
    at += 8;
  }
  return at;
}

}  // namespace

std::optional<std::size_t> find_bad_utf8(std::string_view text) {
  for (std::size_t at = skip_ascii(text, 0); at < text.size();) {
    const Piece piece = next_piece(text.substr(at));
    if (!piece.valid) return at;
    at += piece.bytes;
    if (piece.bytes == 1) at = skip_ascii(text, at);
  }
  return std::nullopt;
}

std::string replace_bad_utf8(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const std::size_t good = find_bad_utf8(text).value_or(text.size());
    result += text.substr(0, good);
    text.remove_prefix(good);
    if (text.empty()) break;
    result += kReplacement;
    text.remove_prefix(next_piece(text).bytes);
  }
  return result;
}

std::string read_text_file(const std::string& path, const TextFileOptions& options) {
  std::string text = sys::read_file(path, options.max_bytes);
  if (text.empty()) fail(ErrorKind::kBadFile, "{}: is empty", path);
  if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff")) {
    fail(ErrorKind::kBadFile,
         "{}: is UTF-16, expected UTF-8; convert it (iconv -f UTF-16 -t UTF-8)", path);
  }
  if (const std::size_t at = text.find('\0'); at != std::string::npos) {
    fail(ErrorKind::kBadFile, "{}: is binary (a NUL byte at offset {}), expected UTF-8 text", path,
         at);
  }
  const std::size_t mark = text.starts_with("\xef\xbb\xbf") ? 3 : 0;
  text.erase(0, mark);
  if (const auto at = find_bad_utf8(text)) {
    if (options.bad_utf8 == BadUtf8::kRefuse) {
      fail(ErrorKind::kBadFile,
           "{}: is not UTF-8 (byte 0x{:02x} at offset {}); convert it, or let bad bytes be "
           "replaced",
           path, static_cast<unsigned char>(text[*at]), *at + mark);
    }
    text = replace_bad_utf8(text);
  }
  if (text.empty()) fail(ErrorKind::kBadFile, "{}: holds nothing but a byte order mark", path);
  return text;
}

}  // namespace conclave::io
