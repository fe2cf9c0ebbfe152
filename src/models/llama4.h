#pragma once

#include "models/architecture.h"

namespace conclave::models {

extern const Architecture kLlama4Text;
extern const Architecture kLlama4;

}  // namespace conclave::models
