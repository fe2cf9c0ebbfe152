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
// ids come back. Nothing is added where `in` has none. Throws Error(kBadFile).
void add_tokenizer_keys(const std::string& in, const nn::TransformerConfig& config,
                        io::GgufMetadata& metadata);

// Writes the tokenizer of `in` to the directory `out`: its files, or what a GGUF file says of them.
void copy_tokenizer_files(const std::string& in, const nn::TransformerConfig& config,
                          const std::string& out);

}  // namespace conclave::models
