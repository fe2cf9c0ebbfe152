// Text to train on and to evaluate with: UTF-8 files of any origin. What is not text is refused
// with the file and the offset, not fed to a tokenizer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace conclave::io {

enum class BadUtf8 {
  kRefuse,   // an Error that names file and offset
  kReplace,  // each maximal broken piece becomes U+FFFD, as browsers and Python do
};

struct TextFileOptions {
  std::uint64_t max_bytes = std::uint64_t{8} << 30;
  BadUtf8 bad_utf8 = BadUtf8::kRefuse;
};

// The content as valid UTF-8 without a byte order mark. Throws Error(kBadFile) for a file that is
// empty, larger than max_bytes, binary (holds a NUL byte; also UTF-16), or not UTF-8; and what
// sys::File throws for one that is missing or unreadable.
std::string read_text_file(const std::string& path, const TextFileOptions& options = {});

// Offset of the first byte that breaks UTF-8 (overlong forms, surrogates and values above U+10FFFF
// break it too), or nothing.
std::optional<std::size_t> find_bad_utf8(std::string_view text);
std::string replace_bad_utf8(std::string_view text);

}  // namespace conclave::io
