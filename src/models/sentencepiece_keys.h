// The SentencePiece model of a directory as the keys of a GGUF file (ggml, docs/gguf.md).
#pragma once

#include <string>

#include "io/gguf.h"
#include "text/model_folder.h"

namespace conclave::models {

// Adds tokens, types, scores and the options of the normalizer: kind "llama" for BPE, "t5" for
// unigram models. `bytes` is the file, `folder` what the JSON files beside it say, `vocab_size` the
// number of the model's rows: tokens beyond are left out, rows without a token get unused ones.
// Throws Error(kBadFile) for a broken file, Error(kUnsupported) for models that these kinds cannot
// say.
void add_sentencepiece_keys(std::string_view bytes, const text::FolderTokens& folder,
                            std::int64_t vocab_size, io::GgufMetadata& metadata);

}  // namespace conclave::models
