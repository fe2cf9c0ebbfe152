#pragma once

#include "models/architecture.h"

namespace conclave::models {

extern const Architecture kPhimoe;

}  // namespace conclave::models
