// Experts are stored together: input_linear [E, 2F, D], gate rows first, and output_linear
// [E, D, F]; the shared expert in the same way without E.
#include "models/granite_layers.h"

#include <cmath>

namespace conclave::models {

nn::TransformerConfig parse_granite(const io::JsonView& config, int shared_width) {
  nn::TransformerConfig c = parse_common(config, {.attention_bias = true, .out_bias = true});
  c.embedding_scale = static_cast<float>(config.number("embedding_multiplier", 1e-6, 1e6, 1));
  c.residual_scale = static_cast<float>(config.number("residual_multiplier", 1e-6, 1e6, 1));
  c.logit_scale = static_cast<float>(1 / config.number("logits_scaling", 1e-6, 1e6, 1));
  c.attention.scale = config.number("attention_multiplier", 1e-9, 1e6, 1);
  const std::string positions = config.string("position_embedding_type", "rope");
  if (positions == "nope") {
    c.attention_L.assign(static_cast<std::size_t>(c.n_layers), {.rope = false});
  } else {
    require_string(config, "position_embedding_type", "rope");
  }
  moe::LayerConfig ffn =
      routed_ffn(config, "softmax_topk", "num_local_experts", 8, "num_experts_per_tok", 2,
                 positive(config, "intermediate_size"));
  ffn.router.renormalize = true;
  ffn.d_shared = shared_width;
  c.ffn_L.assign(static_cast<std::size_t>(c.n_layers), ffn);
  return c;
}

nlohmann::json write_granite(const nn::TransformerConfig& c) {
  nlohmann::json json = write_common(c);
  const moe::LayerConfig& ffn = c.ffn_L.front();
  json["attention_bias"] = c.attention.qkv_bias;
  json["embedding_multiplier"] = static_cast<double>(c.embedding_scale);
  json["residual_multiplier"] = static_cast<double>(c.residual_scale);
  json["logits_scaling"] = 1 / static_cast<double>(c.logit_scale);
  const double usual = 1 / std::sqrt(static_cast<double>(c.head_dim));
  json["attention_multiplier"] = c.attention.scale > 0 ? c.attention.scale : usual;
  if (!c.attention_at(0).rope) json["position_embedding_type"] = "nope";
  json["intermediate_size"] = ffn.d_expert;
  json["num_local_experts"] = ffn.n_experts();
  json["num_experts_per_tok"] = ffn.router.k;
  json.erase("head_dim");  // the reference implementation divides
  return json;
}

TensorPlace place_granite(const ParamSpec& spec, const nn::TransformerConfig& c,
                          const StoredNames&) {
  const ParamId& id = spec.id;
  const std::string common = common_tensor_name(id);
  if (!common.empty()) return TensorPlace::whole(common, spec);
  const moe::LayerConfig& ffn = c.ffn_L[static_cast<std::size_t>(id.layer)];
  const std::int64_t E = ffn.n_experts(), F = ffn.d_expert, S = ffn.d_shared, D = c.d_model;
  const std::string moe = layer_prefix(id) + "block_sparse_moe.";
  const std::string shared = layer_prefix(id) + "shared_mlp.";
  switch (id.role) {
    case Role::kExpertGate:
      return TensorPlace::rows(moe + "input_linear.weight", {E, 2 * F, D}, id.expert * 2 * F);
    case Role::kExpertUp:
      return TensorPlace::rows(moe + "input_linear.weight", {E, 2 * F, D}, id.expert * 2 * F + F);
    case Role::kExpertDown:
      return TensorPlace::rows(moe + "output_linear.weight", {E, D, F}, id.expert * D);
    case Role::kSharedGate:
      return TensorPlace::rows(shared + "input_linear.weight", {2 * S, D}, 0);
    case Role::kSharedUp:
      return TensorPlace::rows(shared + "input_linear.weight", {2 * S, D}, S);
    case Role::kSharedDown:
      return TensorPlace::whole(shared + "output_linear.weight", spec);
    default:
      return TensorPlace::whole(moe + "router.layer.weight", spec);
  }
}

}  // namespace conclave::models
