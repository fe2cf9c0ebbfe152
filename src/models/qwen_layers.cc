#include "models/qwen_layers.h"

#include <algorithm>

namespace conclave::models {

void parse_qwen_windows(const io::JsonView& config, std::int64_t first, nn::TransformerConfig& c) {
  const bool slides = config.boolean("use_sliding_window", false);
  const auto window = static_cast<int>(config.integer("sliding_window", 0, 1 << 24, 4096));
  if (!slides && !config.has("layer_types")) return;
  parse_layer_types(
      config, slides ? window : 0, [&](int layer) { return slides && layer >= first; }, c);
}

void write_qwen_windows(const nn::TransformerConfig& c, nlohmann::json& json) {
  int window = 0;
  for (int layer = 0; layer < c.n_layers; ++layer) {
    window = std::max(window, c.attention_at(layer).window);
  }
  json["use_sliding_window"] = window > 0;
  json["sliding_window"] = window > 0 ? nlohmann::json(window) : nlohmann::json(nullptr);
  if (window > 0) json["layer_types"] = write_layer_types(c);
}

void parse_sparse_layers(const io::JsonView& config, const moe::LayerConfig& routed,
                         int dense_width, nn::TransformerConfig& c) {
  const std::int64_t step = config.integer("decoder_sparse_step", 1, 1 << 20, 1);
  std::vector<std::int64_t> dense;
  if (config.has("mlp_only_layers")) dense = config.integers("mlp_only_layers", 0, 1 << 20);
  for (int layer = 0; layer < c.n_layers; ++layer) {
    const bool listed = std::find(dense.begin(), dense.end(), layer) != dense.end();
    c.ffn_L.push_back(listed || (layer + 1) % step != 0 ? dense_ffn(dense_width) : routed);
  }
}

moe::LayerConfig write_sparse_layers(const nn::TransformerConfig& c, nlohmann::json& json) {
  nlohmann::json dense = nlohmann::json::array();
  moe::LayerConfig routed;
  int dense_width = 0;
  for (int layer = c.n_layers - 1; layer >= 0; --layer) {
    const moe::LayerConfig& ffn = c.ffn_L[static_cast<std::size_t>(layer)];
    if (!ffn.dense()) {
      routed = ffn;
      continue;
    }
    dense_width = ffn.d_expert;
    dense.insert(dense.begin(), layer);
  }
  json["mlp_only_layers"] = dense;
  json["decoder_sparse_step"] = 1;
  json["intermediate_size"] = dense_width > 0 ? dense_width : routed.d_expert;
  json["moe_intermediate_size"] = routed.d_expert;
  json["num_experts"] = routed.n_experts();
  json["num_experts_per_tok"] = routed.router.k;
  json["norm_topk_prob"] = routed.router.renormalize;
  return routed;
}

}  // namespace conclave::models
