// Unigram language model (Kudo 2018, "Subword Regularization"): of all ways to cut a piece into
// tokens the one with the best sum of scores, found by the Viterbi algorithm.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "text/model.h"
#include "text/scored_piece.h"
#include "text/token_trie.h"

namespace conclave::text {

struct UnigramConfig {
  std::optional<std::int32_t> unk_id;
  bool byte_fallback = false;
};

class UnigramModel : public Model {
 public:
  // As Hugging Face `tokenizers` has it: every token counts, sums in f64. Id i is tokens[i]. Throws
  // Error(kBadFile) for an unk_id out of range, Error(kUnsupported) for tokens above 1 kB.
  UnigramModel(UnigramConfig config, const std::vector<std::pair<std::string, double>>& tokens);
  // As SentencePiece has it: sums in f32; control, byte and unused tokens are not in the text, and
  // user-defined ones win wherever they are. Tokens without text have no part in it. Throws
  // also Error(kBadFile) for a token twice or a score that is not finite.
  UnigramModel(UnigramConfig config, const std::vector<ScoredPiece>& pieces);

  void encode(std::string_view piece, bool byte_level, ModelScratch& scratch,
              std::vector<std::int32_t>& ids) const override;
  std::optional<std::int32_t> unknown_id() const override { return config_.unk_id; }

 private:
  struct Path;
  void check_unknown(std::size_t tokens) const;
  void find_bytes();
  void extend(std::string_view piece, std::size_t begin, Path& path) const;
  void append_path(std::string_view piece, const Path& path, std::vector<std::int32_t>& ids,
                   std::string& unknown) const;
  void append_unknown(std::string_view part, std::vector<std::int32_t>& ids) const;

  UnigramConfig config_;
  bool single_precision_ = false;
  std::vector<double> scores_;
  double unk_score_ = 0;
  std::array<std::int32_t, 256> byte_ids_{};  // -1: none
  TokenTrie trie_;
};

}  // namespace conclave::text
