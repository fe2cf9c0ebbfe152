#pragma once

#include "models/architecture.h"

namespace conclave::models {

extern const Architecture kGlm4Moe;

}  // namespace conclave::models
