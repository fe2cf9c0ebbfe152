// Qwen3-MoE (Qwen team 2025): RMSNorm of each head's queries and keys, heads wider than
// hidden_size / num_attention_heads.
#include "models/qwen3_moe.h"

#include "models/common.h"
#include "models/gguf_form.h"
#include "models/qwen_layers.h"

namespace conclave::models {
namespace {

constexpr std::string_view kKeys[] = {
    "intermediate_size", "moe_intermediate_size", "num_experts",          "num_experts_per_tok",
    "norm_topk_prob",    "decoder_sparse_step",   "mlp_only_layers",      "use_sliding_window",
    "max_window_layers", "layer_types",           "router_aux_loss_coef", "output_router_logits"};

nn::TransformerConfig parse(const io::JsonView& config) {
  refuse_unknown_keys(config, kKeys);
  nn::TransformerConfig c = parse_common(config, {.attention_bias = true, .out_bias = true});
  c.attention.qk_norm = nn::QkNorm::kHead;
  parse_qwen_windows(config, /*first=*/0, c);
  moe::LayerConfig ffn =
      routed_ffn(config, "softmax_topk", "num_experts", 128, "num_experts_per_tok", 8,
                 positive(config, "moe_intermediate_size", 768));
  ffn.router.renormalize = config.boolean("norm_topk_prob", false);
  parse_sparse_layers(config, ffn, positive(config, "intermediate_size", 6144), c);
  return c;
}

nlohmann::json write(const nn::TransformerConfig& c) {
  nlohmann::json json = write_common(c);
  write_sparse_layers(c, json);
  write_qwen_windows(c, json);
  json["attention_bias"] = c.attention.qkv_bias;
  return json;
}

bool can_express(const nn::TransformerConfig& c, std::string& reason) {
  return survives_round_trip(c, parse, write, reason);
}

const GgufForm kGguf = {.arch = "qwen3moe"};

}  // namespace

const Architecture kQwen3Moe = {
    .model_type = "qwen3_moe",
    .class_name = "Qwen3MoeForCausalLM",
    .description = "Qwen3-MoE: softmax top-k, norms of each head's queries and keys",
    .parse = parse,
    .write = write,
    .can_express = can_express,
    .place = place_decoder,
    .gguf = &kGguf,
};

}  // namespace conclave::models
