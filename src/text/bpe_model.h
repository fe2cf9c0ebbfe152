// Byte-pair encoding, byte-level or of characters with bytes for those that are unknown.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "text/model.h"
#include "text/symbol_merges.h"

namespace conclave::text {

struct BpeConfig {
  std::optional<std::string> unk_token;
  std::string continuing_subword_prefix;
  std::string end_of_word_suffix;
  bool fuse_unk = false;
  bool byte_fallback = false;  // unknown characters become <0xXX> tokens
  bool ignore_merges = false;  // a piece that is a token is that token
};

class BpeModel : public Model {
 public:
  // Throws Error(kBadFile) for merges that name or make tokens that are not there.
  BpeModel(BpeConfig config, Vocabulary vocabulary,
           std::span<const std::pair<std::string, std::string>> merges);

  // Merges that were made from the vocabulary, of bytes.
  BpeModel(BpeConfig config, Vocabulary vocabulary, SymbolMerges merges);

  void encode(std::string_view piece, bool byte_level, ModelScratch& scratch,
              std::vector<std::int32_t>& ids) const override;
  std::optional<std::int32_t> unknown_id() const override { return unk_id_; }

 private:
  static constexpr std::int32_t kMissing = -1;

  void add_merges(std::span<const std::pair<std::string, std::string>> merges);
  void find_symbols();
  void find_bridges(std::span<const std::pair<std::string, std::string>> merges);
  void bytes_to_symbols(std::string_view piece, std::vector<std::int32_t>& symbols) const;
  void chars_to_symbols(std::string_view piece, std::vector<std::int32_t>& symbols) const;
  bool append_fallback(std::string_view character, std::vector<std::int32_t>& symbols) const;
  std::optional<std::int32_t> char_id(std::string_view character, bool first, bool last) const;
  void encode_in_runs(ModelScratch& scratch, std::vector<std::int32_t>& ids) const;

  BpeConfig config_;
  MergeTable merges_;
  std::optional<std::int32_t> unk_id_;
  std::array<std::int32_t, 256> byte_ids_{};      // of the alphabet's characters
  bool has_alphabet_ = false;                     // all of byte_ids_ exist and stand alone
  std::array<std::int32_t, 256> fallback_ids_{};  // of <0xXX>
  // Pairs of symbols that may stand inside one token; where two neighbours are not such a pair, no
  // merge can cross, and a text falls into runs that are encoded one by one. Empty: not used.
  MergeTable bridges_;
  bool has_bridges_ = false;
};

}  // namespace conclave::text
