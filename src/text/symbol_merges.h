// The merges of vocabularies that list none: two neighbours join wherever their texts joined are a
// token, the best token first (SentencePiece BPE by scores, tiktoken by ranks).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "text/merge_table.h"
#include "text/utf8.h"

namespace conclave::text {

// A character that is no token still takes part in merges, under a number of its own.
inline std::int32_t char_symbol(Utf8Char character, std::string_view bytes) {
  const char32_t value = character.value != kInvalidChar
                             ? character.value
                             : 0x110000u + static_cast<unsigned char>(bytes[0]);
  return -2 - static_cast<std::int32_t>(value);
}
inline bool is_char_symbol(std::int32_t symbol) { return symbol < -1; }

struct JoinedToken {
  std::string_view text;
  std::int32_t id = 0;
  std::uint32_t rank = 0;  // lower joins first
};

struct SymbolMerges {
  MergeTable merges;
  // Neighbouring characters (or bytes) that stand in some token; no merge crosses others.
  MergeTable bridges;
};

// Symbols are single bytes, all of which must be tokens, or characters. Of equal tokens the last
// counts. Throws Error(kUnsupported) where tokens fall apart in more ways than 64 each.
enum class SymbolKind { kBytes, kChars };
SymbolMerges make_symbol_merges(std::span<const JoinedToken> tokens, SymbolKind kind);

}  // namespace conclave::text
