// The tokenizer of a model, carried from one form to the other.
#pragma once

#include <string>

#include "io/gguf.h"
#include "nn/config.h"

namespace conclave::models {

// The key of GGUF files that holds a whole tokenizer.json (docs of the format, "Hugging Face").
inline constexpr const char* kTokenizerJsonKey = "tokenizer.huggingface.json";

// Adds the tokenizer of `in` (a directory or GGUF file) to the keys of a GGUF file: tokens, types,
// merges or scores, special ids, chat template, and the tokenizer.json itself, from which the same
// ids come back. Nothing is added where `in` has none. Returns what the user must know: why there
// is no tokenizer although `in` has one, else "". Throws Error(kBadFile).
std::string add_tokenizer_keys(const std::string& in, const nn::TransformerConfig& config,
                               io::GgufMetadata& metadata);

// Writes the tokenizer of `in` to the directory `out`: its files, or, of a GGUF file, the
// tokenizer.json that it embeds, else one or a SentencePiece model made from its keys. Returns as
// above.
std::string copy_tokenizer_files(const std::string& in, const nn::TransformerConfig& config,
                                 const std::string& out);

}  // namespace conclave::models
