// What Granite-MoE and Granite-MoE-shared have in common: everything but the shared expert.
#pragma once

#include "models/architecture.h"
#include "models/common.h"

namespace conclave::models {

nn::TransformerConfig parse_granite(const io::JsonView& config, int shared_width);
nlohmann::json write_granite(const nn::TransformerConfig& c);
TensorPlace place_granite(const ParamSpec& spec, const nn::TransformerConfig& c,
                          const StoredNames& names);

}  // namespace conclave::models
