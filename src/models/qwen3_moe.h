#pragma once

#include "models/architecture.h"

namespace conclave::models {

extern const Architecture kQwen3Moe;

}  // namespace conclave::models
