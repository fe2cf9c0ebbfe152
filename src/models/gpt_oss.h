#pragma once

#include "models/architecture.h"

namespace conclave::models {

extern const Architecture kGptOss;

}  // namespace conclave::models
