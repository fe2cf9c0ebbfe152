#pragma once

#include "models/architecture.h"

namespace conclave::models {

extern const Architecture kQwen2Moe;

}  // namespace conclave::models
