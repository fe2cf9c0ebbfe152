// What the JSON files of a model's directory say about a tokenizer that is not a tokenizer.json:
// tokenizer_config.json, special_tokens_map.json, added_tokens.json, config.json.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"
#include "text/tokenizer.h"

namespace conclave::text {

// The largest published tokenizer file (a vocabulary of 262,144) has 33 MB.
inline constexpr std::uint64_t kMaxTokenizerBytes = std::uint64_t{256} << 20;

struct FolderTokens {
  std::vector<AddedToken> added;  // with ids where the files give them
  std::optional<bool> add_bos;
  std::optional<bool> add_eos;
  std::string bos_token;
  std::string eos_token;
  std::string tokenizer_class;  // without "Fast" at the end
  std::string model_type;
};

// Files that are absent say nothing. Throws Error(kBadFile) for broken ones.
FolderTokens read_folder_tokens(const std::string& directory);

// By kind of file; `path` is for messages and hints.
Tokenizer tokenizer_from_tiktoken(std::string_view text, const std::string& path,
                                  const TiktokenOptions& options, const FolderTokens& folder);
Tokenizer tokenizer_from_sentencepiece(std::string_view bytes, const FolderTokens& folder);

}  // namespace conclave::text
