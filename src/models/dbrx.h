#pragma once

#include "models/architecture.h"

namespace conclave::models {

extern const Architecture kDbrx;

}  // namespace conclave::models
