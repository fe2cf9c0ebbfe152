// What the llama-like architectures share: key names, tensor names, and the check that no key of a
// config.json is silently ignored.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "io/json.h"
#include "nn/config.h"
#include "tensor/parameters.h"

namespace conclave::models {

// Reads the keys that all llama-like decoders have (sizes, heads, norm epsilon, rotary base,
// context, ties, special tokens) and leaves ffn_L empty.
nn::TransformerConfig parse_common(const io::JsonView& config);
nlohmann::json write_common(const nn::TransformerConfig& config);

// Throws Error(kUnsupported) for a key of `config` that is neither in `keys`, nor common, nor known
// to leave the mathematics alone.
void refuse_unknown_keys(const io::JsonView& config, std::span<const std::string_view> keys);

// Names outside the FFN ("model.layers.3.self_attn.q_proj.weight"); empty for other weights.
std::string common_tensor_name(const ParamId& id);

// "model.layers.3."
std::string layer_prefix(const ParamId& id);

}  // namespace conclave::models
