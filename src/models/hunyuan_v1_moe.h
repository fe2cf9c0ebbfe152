#pragma once

#include "models/architecture.h"

namespace conclave::models {

extern const Architecture kHunyuanV1Moe;

}  // namespace conclave::models
