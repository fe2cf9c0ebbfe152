#pragma once

#include "models/architecture.h"

namespace conclave::models {

extern const Architecture kDeepseekV3;
extern const Architecture kKimiK2;

}  // namespace conclave::models
