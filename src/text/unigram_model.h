// Unigram language model (Kudo 2018, "Subword Regularization"): of all ways to cut a piece into
// tokens the one with the best sum of scores, found by the Viterbi algorithm.
#pragma once

#include <optional>
#include <vector>

#include "text/model.h"
#include "text/token_trie.h"

namespace conclave::text {

struct UnigramConfig {
  std::optional<std::int32_t> unk_id;
  bool byte_fallback = false;
};

class UnigramModel : public Model {
 public:
  // Id i is tokens[i]. Throws Error(kBadFile) for an unk_id out of range, Error(kUnsupported) for
  // tokens above 1 kB.
  UnigramModel(UnigramConfig config, std::vector<std::pair<std::string, double>> tokens);

  void encode(std::string_view piece, bool byte_level, ModelScratch& scratch,
              std::vector<std::int32_t>& ids) const override;
  std::optional<std::int32_t> unknown_id() const override { return config_.unk_id; }

 private:
  void find_best_path(std::string_view piece, ModelScratch& scratch) const;
  void append(std::string_view part, std::vector<std::int32_t>& ids) const;

  UnigramConfig config_;
  std::vector<double> scores_;
  double unk_score_ = 0;
  TokenTrie trie_;
};

}  // namespace conclave::text
