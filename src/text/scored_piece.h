// A token of a SentencePiece model, in its own file or in GGUF metadata; both number the kinds so.
#pragma once

#include <cstdint>
#include <string>

namespace conclave::text {

enum class PieceKind : std::uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct ScoredPiece {
  std::string text;
  float score = 0;
  PieceKind kind = PieceKind::kNormal;
};

}  // namespace conclave::text
