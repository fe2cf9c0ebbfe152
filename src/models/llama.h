// Llama (Touvron et al. 2023): the dense decoder; its FFN is a layer of one expert.
#pragma once

#include "models/architecture.h"

namespace conclave::models {

extern const Architecture kLlama;

}  // namespace conclave::models
