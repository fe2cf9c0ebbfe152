// ERNIE 4.5 MoE (Baidu 2025): softmax routing selected with a bias on the probabilities, shared
// experts, dense layers among routed ones, rotary pairs stored as neighbours.
#include "models/ernie4_5_moe.h"

#include "models/common.h"
#include "models/gguf_form.h"

namespace conclave::models {
namespace {

constexpr std::string_view kKeys[] = {"intermediate_size",
                                      "moe_intermediate_size",
                                      "moe_num_experts",
                                      "moe_k",
                                      "moe_num_shared_experts",
                                      "moe_layer_start_index",
                                      "moe_layer_end_index",
                                      "moe_layer_interval",
                                      "moe_norm_min",
                                      "use_bias",
                                      "router_aux_loss_coef",
                                      "output_router_logits",
                                      "moe_capacity",
                                      "moe_gate",
                                      "moe_use_aux_free",
                                      "use_rmsnorm",
                                      "num_nextn_predict_layers"};

nn::TransformerConfig parse(const io::JsonView& config) {
  refuse_unknown_keys(config, kKeys);
  require_string(config, "moe_gate", "topk");
  require_boolean(config, "use_rmsnorm", true);
  require_boolean(config, "moe_use_aux_free", true);
  nn::TransformerConfig c =
      parse_common(config, {.norm_eps = 1e-5, .rope_theta = 500000, .tie_embeddings = true});
  c.rope.stored_in_pairs = true;
  const bool bias = config.boolean("use_bias", false);
  c.attention.qkv_bias = c.attention.out_bias = c.head_bias = bias;
  const int width = positive(config, "moe_intermediate_size", 1536);
  moe::LayerConfig routed =
      routed_ffn(config, "softmax_topk", "moe_num_experts", 64, "moe_k", 6, width);
  routed.router.norm_min = config.number("moe_norm_min", 0, 1, 1e-12);
  routed.expert_bias = true;
  routed.linear_bias = bias;
  routed.d_shared = width * static_cast<int>(config.integer("moe_num_shared_experts", 0, 1024, 2));
  moe::LayerConfig dense = dense_ffn(positive(config, "intermediate_size"));
  dense.linear_bias = bias;
  const std::int64_t interval = config.integer("moe_layer_interval", 1, 1 << 20, 1);
  const std::int64_t start = config.integer("moe_layer_start_index", 0, 1 << 20, 1);
  std::int64_t end = config.integer("moe_layer_end_index", -1, 1 << 20, -1);
  if (end < 0) end = c.n_layers - 1;
  for (int layer = 0; layer < c.n_layers; ++layer) {
    const bool is_routed = (layer + 1) % interval == 0 && layer >= start && layer <= end;
    c.ffn_L.push_back(is_routed ? routed : dense);
  }
  return c;
}

nlohmann::json write(const nn::TransformerConfig& c) {
  nlohmann::json json = write_common(c);
  moe::LayerConfig routed, dense = dense_ffn(1);
  int first = -1, second = -1, last = -1;
  for (int layer = 0; layer < c.n_layers; ++layer) {
    const moe::LayerConfig& ffn = c.ffn_L[static_cast<std::size_t>(layer)];
    if (ffn.dense()) {
      dense = ffn;
      continue;
    }
    routed = ffn;
    if (first >= 0 && second < 0) second = layer;
    if (first < 0) first = layer;
    last = layer;
  }
  json["moe_layer_interval"] = second > 0 ? second - first : first + 1;
  json["moe_layer_start_index"] = first >= 0 ? first : c.n_layers;
  json["moe_layer_end_index"] = last >= 0 ? last : c.n_layers;
  json["use_bias"] = c.attention.qkv_bias;
  json["intermediate_size"] = dense.d_expert;
  json["moe_intermediate_size"] = routed.d_expert;
  json["moe_num_experts"] = routed.n_experts();
  json["moe_k"] = routed.router.k;
  json["moe_num_shared_experts"] = routed.d_shared / std::max(1, routed.d_expert);
  json["moe_norm_min"] = routed.router.norm_min;
  return json;
}

bool can_express(const nn::TransformerConfig& c, std::string& reason) {
  return survives_round_trip(c, parse, write, reason);
}

TensorPlace place(const ParamSpec& spec, const nn::TransformerConfig& c, const StoredNames& names) {
  const Role role = spec.id.role;
  if (role == Role::kExpertBias) {  // [1, E]; newer files keep it below the router
    const std::string newer =
        layer_prefix(spec.id) + "mlp.gate.moe_statics.e_score_correction_bias";
    const std::string usual = layer_prefix(spec.id) + "mlp.moe_statics.e_score_correction_bias";
    return TensorPlace::rows(names.has(newer) ? newer : usual, {1, spec.shape[0]}, 0);
  }
  TensorPlace place = TensorPlace::whole(decoder_tensor_name(spec.id, c), spec);
  if (role == Role::kQuery || role == Role::kKey || role == Role::kQueryBias ||
      role == Role::kKeyBias) {
    place.order = halves_from_pairs(c.head_dim, c.head_dim);
  }
  return place;
}

// Layers that predict further tokens.
bool ignores(const std::string& name, const nn::TransformerConfig& c) {
  return name.find("mtp_") != std::string::npos || beyond_last_layer(name, c);
}

const GgufForm kGguf = {.arch = "ernie4_5-moe",
                        .pairs = true,
                        .router =
                            [] {
                              moe::RouterConfig router = moe::default_router_config("softmax_topk");
                              router.norm_min = 1e-12;
                              return router;
                            },
                        .write =
                            [](const nn::TransformerConfig&, io::GgufMetadata& metadata) {
                              metadata.set("ernie4_5-moe.interleave_moe_layer_step",
                                           std::uint32_t{1});
                            }};

}  // namespace

const Architecture kErnie45Moe = {
    .model_type = "ernie4_5_moe",
    .class_name = "Ernie4_5_MoeForCausalLM",
    .description = "ERNIE 4.5 MoE: softmax top-k selected with a bias",
    .parse = parse,
    .write = write,
    .can_express = can_express,
    .place = place,
    .ignores = ignores,
    .gguf = &kGguf,
};

}  // namespace conclave::models
