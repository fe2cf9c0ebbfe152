// The published tokenizers that come as tiktoken files. Such a file holds ranks alone; how text is
// cut into words and which special tokens there are is written in programs, and here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace conclave::text {

struct TiktokenKind {
  std::string_view name;                // "cl100k"
  std::vector<std::string_view> stems;  // of file names: "cl100k_base" of cl100k_base.tiktoken
  std::vector<std::string_view> hints;  // tokenizer_class or model_type of a model's configuration
  std::int64_t ranks = 0;               // tokens in the published file
  std::string_view pattern;
  bool nfc = false;  // text is brought to normal form C first
  std::vector<std::pair<std::string_view, std::int32_t>> special;
};

const std::vector<TiktokenKind>& tiktoken_kinds();

// Null where nothing fits.
const TiktokenKind* tiktoken_kind(std::string_view name);
const TiktokenKind* tiktoken_kind_by_stem(std::string_view stem);
const TiktokenKind* tiktoken_kind_by_hint(std::string_view hint);
const TiktokenKind* tiktoken_kind_by_ranks(std::int64_t ranks);

// Ids that the kind keeps for special tokens, with the names that they have where no other is
// given, for a file with that many ranks.
std::vector<std::pair<std::string, std::int32_t>> reserved_tokens(const TiktokenKind& kind,
                                                                  std::int64_t ranks);

}  // namespace conclave::text
