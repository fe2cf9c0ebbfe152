// The chat template of a model in any of its forms.
#pragma once

#include <string>

#include "text/chat_template.h"

namespace conclave::models {

// `path` is a model directory, a .gguf file (tokenizer.chat_template, with the special tokens that
// its ids name), or a template by itself. Throws Error: kNotFound where there is none, kIo,
// kBadFile, kUnsupported.
text::ChatTemplate load_chat_template(const std::string& path);

}  // namespace conclave::models
