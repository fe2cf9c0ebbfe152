// A tokenizer.json taken apart with bounds: what is large (vocabulary, merges) goes straight into
// plain lists, the few keys that matter become a small JSON tree, all others are skipped.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace conclave::text {

struct TokenizerFile {
  // version, added_tokens, normalizer, pre_tokenizer, post_processor, decoder, and model without
  // vocab and merges. Keys that were absent are absent.
  nlohmann::json root;
  // model.vocab as an object: token -> id.
  std::vector<std::pair<std::string, std::int64_t>> vocab;
  // model.vocab as a list of [token, score].
  std::vector<std::pair<std::string, double>> scored_vocab;
  bool has_vocab = false;
  bool has_scored_vocab = false;
  // model.merges, as pairs; entries of the form "left right" are split.
  std::vector<std::pair<std::string, std::string>> merges;
  bool has_merges = false;
};

// Throws Error(kBadFile): not JSON, nested deeper than 64, a key twice, wrong types in vocabulary
// or merges; Error(kUnsupported) for more than 4 million other values.
TokenizerFile parse_tokenizer_file(std::string_view json);

}  // namespace conclave::text
