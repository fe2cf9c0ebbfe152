// The research type: every router and layer that this engine can train, for models that no
// published architecture describes. Tensor names follow Mixtral's; the router's recipe is in
// config.json.
#pragma once

#include "models/architecture.h"

namespace conclave::models {

extern const Architecture kResearch;

}  // namespace conclave::models
