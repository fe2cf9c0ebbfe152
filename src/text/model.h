// Models: turn a piece of text into ids. One file per kind.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "text/bpe_merge.h"
#include "text/json_view.h"
#include "text/piece_cache.h"
#include "text/tokenizer_file.h"
#include "text/vocabulary.h"

namespace conclave::text {

// What one call to encode() keeps from piece to piece.
struct ModelScratch {
  PieceCache cache;
  BpeMergeScratch merge;
  std::vector<std::int32_t> symbols;
  std::string spelling;
  std::vector<double> scores;
  std::vector<std::uint32_t> links;
  std::vector<std::int32_t> ids;
};

class Model {
 public:
  virtual ~Model() = default;
  // Appends the ids of a piece, which is not empty. `byte_level`: see Pieces.
  virtual void encode(std::string_view piece, bool byte_level, ModelScratch& scratch,
                      std::vector<std::int32_t>& ids) const = 0;

  const Vocabulary& vocabulary() const { return vocabulary_; }
  // The token that stands for text without one.
  virtual std::optional<std::int32_t> unknown_id() const = 0;

 protected:
  Vocabulary vocabulary_;
};

// From "model" and the lists that were taken out of it; consumes those. Throws Error(kBadFile), or
// (kUnsupported) for an unknown type.
std::unique_ptr<Model> make_model(const JsonView& config, TokenizerFile& file);

// By kind.
std::unique_ptr<Model> make_bpe_model(const JsonView& config, TokenizerFile& file);
std::unique_ptr<Model> make_unigram_model(const JsonView& config, TokenizerFile& file);
std::unique_ptr<Model> make_word_piece_model(const JsonView& config, TokenizerFile& file);
std::unique_ptr<Model> make_word_level_model(const JsonView& config, TokenizerFile& file);

// Fills a vocabulary from model.vocab and frees that.
void take_vocabulary(TokenizerFile& file, Vocabulary& vocabulary);

}  // namespace conclave::text
