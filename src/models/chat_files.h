// The chat template of a model directory or GGUF file.
#pragma once

#include <string>

#include "text/chat_template.h"

namespace conclave::models {

// Throws Error(kNotFound) where the model has none, and what ChatTemplate::load throws.
text::ChatTemplate load_chat_template(const std::string& path);

}  // namespace conclave::models
