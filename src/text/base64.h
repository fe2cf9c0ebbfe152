// Base64 (RFC 4648), standard alphabet.
#pragma once

#include <string>
#include <string_view>

namespace conclave::text {

// Padding may be missing. Throws Error(kBadFile) for other characters or an impossible length.
std::string decode_base64(std::string_view text);
// With padding.
std::string encode_base64(std::string_view bytes);

}  // namespace conclave::text
