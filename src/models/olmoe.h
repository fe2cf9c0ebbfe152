#pragma once

#include "models/architecture.h"

namespace conclave::models {

extern const Architecture kOlmoe;

}  // namespace conclave::models
