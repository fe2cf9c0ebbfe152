// What the tokenizer.ggml.* keys of a GGUF file say (ggml, docs/gguf.md), checked: the parts from
// which a tokenizer is built, or written as the files of other programs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/gguf.h"
#include "text/added_tokens.h"
#include "text/scored_piece.h"
#include "text/tokenizer_build.h"
#include "text/tokenizer_file.h"

namespace conclave::text {

// "tokenizer.ggml.NAME".
std::string gguf_key(const char* name);

// The tokens, with kinds and scores where the file has them. Borrows the metadata. All throw
// Error(kBadFile).
class GgufVocabulary {
 public:
  explicit GgufVocabulary(const io::GgufMetadata& metadata);

  std::vector<ScoredPiece>& pieces() { return pieces_; }

  // The id of a token that has a role, if it is given and exists.
  std::optional<std::int32_t> id(const char* name,
                                 std::optional<std::int32_t> otherwise = std::nullopt) const;

 private:
  void read_kinds();
  void read_scores();
  void check_count(const char* name, std::size_t count) const;

  const io::GgufMetadata& metadata_;
  std::vector<ScoredPiece> pieces_;
};

// The tokens around every text, where there are.
struct GgufFrame {
  std::optional<std::int32_t> begin, end;
};

// Kinds "llama" and "t5" (unigram).
struct GgufPieces {
  SentencePieceSource source;  // `added`: only what differs from the pieces' own kinds
  GgufFrame frame;
};
GgufPieces gguf_pieces(const io::GgufMetadata& metadata, bool unigram);

// Kind "gpt2".
struct GgufMerges {
  TokenizerFile file;             // without added tokens and post-processor
  std::vector<AddedToken> added;  // by id
  GgufFrame frame;
};
GgufMerges gguf_merges(const io::GgufMetadata& metadata);

}  // namespace conclave::text
