#pragma once

#include "models/architecture.h"

namespace conclave::models {

extern const Architecture kDeepseekV2;

}  // namespace conclave::models
