// What the Qwen families share: which layers slide, and which are dense.
#pragma once

#include "models/common.h"

namespace conclave::models {

// "use_sliding_window", "sliding_window" and "layer_types" (or, where that is absent, windows from
// layer `first` on).
void parse_qwen_windows(const io::JsonView& config, std::int64_t first, nn::TransformerConfig& c);
void write_qwen_windows(const nn::TransformerConfig& c, nlohmann::json& json);

// Fills ffn_L: layer i is `routed` where decoder_sparse_step divides i + 1 and mlp_only_layers does
// not list i, else dense of `dense_width`.
void parse_sparse_layers(const io::JsonView& config, const moe::LayerConfig& routed,
                         int dense_width, nn::TransformerConfig& c);
// The keys of experts and of dense layers; returns the first routed layer.
moe::LayerConfig write_sparse_layers(const nn::TransformerConfig& c, nlohmann::json& json);

}  // namespace conclave::models
