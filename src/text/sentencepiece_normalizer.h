// SentencePiece's normalization: characters by the model's table, longest entry first; white space
// trimmed, joined and made visible (U+2581); a space in front. Bytes that are not UTF-8 become
// U+FFFD, one each.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "text/double_array.h"
#include "text/normalizer.h"
#include "text/token_trie.h"

namespace conclave::text {

struct SentencePieceNormalizerConfig {
  std::string charsmap;  // empty: none
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  bool whitespace_as_suffix = false;  // the space goes behind the text
  // Tokens that stand for themselves: the table does not touch them.
  std::vector<std::string> user_defined;
  bool replace_invalid = true;  // false: bytes that are not UTF-8 pass
};

// Throws Error(kBadFile) for a broken table.
std::unique_ptr<Normalizer> make_sentencepiece_normalizer(SentencePieceNormalizerConfig config);

}  // namespace conclave::text
