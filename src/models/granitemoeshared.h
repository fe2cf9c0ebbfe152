#pragma once

#include "models/architecture.h"

namespace conclave::models {

extern const Architecture kGraniteMoeShared;

}  // namespace conclave::models
