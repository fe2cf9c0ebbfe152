// Patterns by which published byte-level vocabularies cut text into words, for files that name them
// instead of holding them: GGUF's tokenizer.ggml.pre, and tiktoken files by their kind. Patterns
// are facts of those files; they apply one after the other, each within what the ones before left.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::text {

struct WordPatterns {
  std::vector<std::string_view> patterns;  // in Oniguruma's syntax
  bool nfc = false;                        // text is brought to normal form C first
  bool ignore_merges = false;              // a word that is a token is that token
  bool add_bos = false;                    // unless the file says otherwise
};

// By tokenizer.ggml.pre; null where the name is not known. "" is "default".
const WordPatterns* word_patterns(std::string_view pre);

// The inverse: a name whose patterns are these, one after the other; empty where there is none.
// Characters beyond ASCII may stand for themselves or as \uXXXX, as in tokenizer.json.
std::string_view word_pattern_name(std::span<const std::string> patterns, bool nfc);

// All names, for messages.
std::vector<std::string_view> word_pattern_names();

}  // namespace conclave::text
