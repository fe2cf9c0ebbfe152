// Characters that make words, as \w has it in Rust's regular expressions (Unicode 16): letters,
// marks, decimal digits, connectors and the joiners.
#pragma once

namespace conclave::text {

bool is_word_char(char32_t value);

}  // namespace conclave::text
