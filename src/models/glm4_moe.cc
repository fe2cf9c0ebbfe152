// GLM-4.5 (Zhipu AI 2025): DeepSeek-V3's router over ordinary attention with rotary positions on a
// part of each head.
#include "models/glm4_moe.h"

#include <cmath>

#include "models/deepseek_layers.h"
#include "models/gguf_form.h"

namespace conclave::models {
namespace {

constexpr std::string_view kKeys[] = {
    "intermediate_size",    "moe_intermediate_size", "n_routed_experts", "n_shared_experts",
    "num_experts_per_tok",  "routed_scaling_factor", "n_group",          "topk_group",
    "norm_topk_prob",       "first_k_dense_replace", "use_qk_norm",      "num_nextn_predict_layers",
    "output_router_logits", "router_aux_loss_coef"};

nn::TransformerConfig parse(const io::JsonView& config) {
  refuse_unknown_keys(config, kKeys);
  nn::TransformerConfig c =
      parse_common(config, {.attention_bias = true, .norm_eps = 1e-5, .partial_rotary = 0.5});
  if (config.boolean("use_qk_norm", false)) c.attention.qk_norm = nn::QkNorm::kHead;
  const int width = positive(config, "moe_intermediate_size", 1408);
  moe::LayerConfig ffn =
      routed_ffn(config, "sigmoid_bias", "n_routed_experts", 128, "num_experts_per_tok", 8, width);
  ffn.router.renormalize = config.boolean("norm_topk_prob", true);
  ffn.router.scale = config.number("routed_scaling_factor", 1e-6, 1e6, 1.0);
  parse_groups(config, 1, 1, ffn.router);
  ffn.router.group_fill_zero = true;
  ffn.expert_bias = true;
  ffn.d_shared = width * static_cast<int>(config.integer("n_shared_experts", 0, 1024, 1));
  parse_leading_dense(config, ffn, 1, c);
  return c;
}

nlohmann::json write(const nn::TransformerConfig& c) {
  nlohmann::json json = write_common(c);
  write_leading_dense(c, json);
  json["attention_bias"] = c.attention.qkv_bias;
  json["use_qk_norm"] = c.attention.qk_norm == nn::QkNorm::kHead;
  const int rotary = c.rope.rotary_dim > 0 ? c.rope.rotary_dim : c.head_dim;
  double part = static_cast<double>(rotary) / c.head_dim;
  if (static_cast<int>(c.head_dim * part) < rotary) part = std::nextafter(part, 2.0);
  json["partial_rotary_factor"] = part;
  return json;
}

bool can_express(const nn::TransformerConfig& c, std::string& reason) {
  return survives_round_trip(c, parse, write, reason);
}

const GgufForm kGguf = {.arch = "glm4moe",
                        .name = [](Role role) -> const char* {
                          return role == Role::kFfnNorm ? "post_attention_norm.weight" : nullptr;
                        },
                        .router = gguf_grouped_sigmoid};

}  // namespace

const Architecture kGlm4Moe = {
    .model_type = "glm4_moe",
    .class_name = "Glm4MoeForCausalLM",
    .description = "GLM-4.5: sigmoid top-k with a bias, partly rotary heads",
    .parse = parse,
    .write = write,
    .can_express = can_express,
    .place = place_decoder,
    .ignores = beyond_last_layer,
    .gguf = &kGguf,
};

}  // namespace conclave::models
