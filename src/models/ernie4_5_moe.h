#pragma once

#include "models/architecture.h"

namespace conclave::models {

extern const Architecture kErnie45Moe;

}  // namespace conclave::models
