// Unicode's normal forms (Standard Annex 15), by utf8proc, except that characters which Hugging
// Face `tokenizers` leaves alone (its tables are of Unicode 9) stay as they are.
#pragma once

#include <string>
#include <string_view>

namespace conclave::text {

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

// Bytes that are not UTF-8 stay.
std::string to_normal_form(std::string_view text, NormalForm form);

}  // namespace conclave::text
