// The tokenizer in the metadata of a GGUF file, as the files of a Hugging Face directory.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "io/gguf.h"

namespace conclave::text {

struct TokenizerExport {
  std::string file;         // name: "tokenizer.json" or "tokenizer.model"
  std::string bytes;        // its content
  nlohmann::json settings;  // what tokenizer_config.json must say for the same ids, an object
};

// Kind "gpt2" becomes a tokenizer.json; kinds "llama" and "t5" become a SentencePiece model.
// Tokenizer::load() of a directory with these files gives the ids that Tokenizer::from_gguf() gives
// (except that SentencePiece reads bytes that are not UTF-8 as U+FFFD, where the "llama" kind of
// GGUF keeps them).
//
// Throws Error(kBadFile) where from_gguf() does, Error(kUnsupported) for kinds and vocabularies
// that such files cannot hold.
TokenizerExport export_tokenizer(const io::GgufMetadata& metadata);

}  // namespace conclave::text
