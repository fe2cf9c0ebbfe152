// SentencePiece's .model files: a protocol-buffer message (sentencepiece_model.proto), read here by
// hand with every length checked. Fields that do not change ids are skipped, and not written.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/scored_piece.h"
#include "text/sentencepiece_normalizer.h"

namespace conclave::text {

enum class SentencePieceType { kUnigram = 1, kBpe = 2, kWord = 3, kChar = 4 };

struct SentencePieceFile {
  SentencePieceType type = SentencePieceType::kUnigram;
  std::vector<ScoredPiece> pieces;  // by id
  bool byte_fallback = false;
  // Names of the tokens that begin and end a text; they need not be among the pieces.
  std::string bos_piece = "<s>";
  std::string eos_piece = "</s>";
  SentencePieceNormalizerConfig normalizer;  // without user_defined
};

// Throws Error(kBadFile) with the place in the file.
SentencePieceFile parse_sentencepiece_file(std::string_view bytes);

// The bytes of such a file, from which the same comes back. The unknown token is the piece of that
// kind; the library asks for exactly one, and for all 256 byte tokens or none.
std::string write_sentencepiece_file(const SentencePieceFile& file);

// Whether bytes look like such a file rather than like text.
bool looks_like_sentencepiece(std::string_view bytes);

}  // namespace conclave::text
