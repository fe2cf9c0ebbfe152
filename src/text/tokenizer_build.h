// Parts of a TokenizerState, for the files that it can come from. None of these call finish().
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "text/scored_piece.h"
#include "text/sentencepiece_file.h"
#include "text/tokenizer_file.h"
#include "text/tokenizer_state.h"
#include "text/word_patterns.h"

namespace conclave::text {

using StatePtr = std::shared_ptr<detail::TokenizerState>;

// From the parts of a tokenizer.json.
StatePtr build_from_file(TokenizerFile file);

// The "normalizer", "pre_tokenizer" and "decoder" of a byte-level vocabulary, as tokenizer.json
// would say it.
nlohmann::json byte_level_components(std::span<const std::string_view> patterns, bool nfc);

// What SentencePiece's files and GGUF metadata of that kind have in common.
struct SentencePieceSource {
  SentencePieceFile file;
  std::int32_t unk_id = 0;
  // Tokens are cut out of the text by the model itself (as the library does), not as added tokens
  // (as GGUF's runtime does).
  bool user_defined_in_model = true;
  // More added tokens than the control tokens of the file.
  std::vector<AddedToken> added;
};
StatePtr build_from_sentencepiece(SentencePieceSource source);

// Added tokens for the control, unknown and user-defined ones among the pieces.
std::vector<AddedToken> added_tokens_of(std::span<const ScoredPiece> pieces, bool user_defined);

// One token in front of every text, one behind.
PostProcessor frame(std::optional<std::int32_t> begin, std::optional<std::int32_t> end);

// Calls make(), with memory errors typed and `name` in front of messages.
template <class Make>
auto load_named(const std::string& name, const Make& make) {
  return with_context("tokenizer '" + name + "'", [&] {
    try {
      return make();
    } catch (const std::bad_alloc&) {
      fail(ErrorKind::kOutOfMemory, "no memory to load it");
    }
  });
}

}  // namespace conclave::text
