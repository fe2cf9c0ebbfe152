// Mixtral (Jiang et al. 2024, "Mixtral of Experts"): every layer routes each token to the K most
// probable of E SwiGLU experts; softmax over all, top-k, weights renormalised.
#pragma once

#include "models/architecture.h"

namespace conclave::models {

extern const Architecture kMixtral;

}  // namespace conclave::models
