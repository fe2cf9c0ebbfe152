#pragma once

#include "models/architecture.h"

namespace conclave::models {

extern const Architecture kGraniteMoe;

}  // namespace conclave::models
