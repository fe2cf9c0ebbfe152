// SentencePiece's byte-pair encoding (Kudo and Richardson 2018, "SentencePiece"): neighbours join
// where together they are a token, the one of the best score first, leftmost first. The whole text
// is one piece.
#pragma once

#include <array>
#include <vector>

#include "text/model.h"
#include "text/scored_piece.h"
#include "text/symbol_merges.h"
#include "text/token_trie.h"

namespace conclave::text {

struct ScoredBpeConfig {
  std::int32_t unk_id = 0;
  bool byte_fallback = false;  // characters that are no token become <0xXX> tokens
  // Tokens that are user-defined are cut out of the text first, as one symbol each.
  bool match_user_defined = true;
  bool merge = true;  // false: every character is a token of its own
};

class ScoredBpeModel : public Model {
 public:
  // Id i is pieces[i]; those without text have no part in it. Throws Error(kBadFile) for a token
  // twice, a score that is not finite or an unk_id out of range.
  ScoredBpeModel(ScoredBpeConfig config, const std::vector<ScoredPiece>& pieces);

  void encode(std::string_view piece, bool byte_level, ModelScratch& scratch,
              std::vector<std::int32_t>& ids) const override;
  std::optional<std::int32_t> unknown_id() const override { return config_.unk_id; }

 private:
  struct Symbol {
    std::int32_t id = 0;
    std::size_t size = 0;
  };
  Symbol next_symbol(std::string_view text, std::size_t at) const;
  void encode_run(std::string_view run, ModelScratch& scratch,
                  std::vector<std::int32_t>& ids) const;
  void append(std::int32_t symbol, const BpeMergeScratch& merge,
              std::vector<std::int32_t>& ids) const;
  void append_char(std::int32_t symbol, std::vector<std::int32_t>& ids) const;

  ScoredBpeConfig config_;
  SymbolMerges merges_;
  std::vector<bool> joinable_;
  std::vector<bool> unused_;  // empty: none
  TokenTrie user_defined_;
  std::array<std::int32_t, 256> byte_ids_{};
};

}  // namespace conclave::text
