// Qwen2-MoE (Qwen team 2024, Qwen1.5-MoE-A2.7B): biases of q, k and v, and a shared expert whose
// output is multiplied by a gate of its own.
#include "models/qwen2_moe.h"

#include "models/common.h"
#include "models/gguf_form.h"
#include "models/qwen_layers.h"

namespace conclave::models {
namespace {

constexpr std::string_view kKeys[] = {
    "intermediate_size",    "moe_intermediate_size", "shared_expert_intermediate_size",
    "num_experts",          "num_experts_per_tok",   "norm_topk_prob",
    "decoder_sparse_step",  "mlp_only_layers",       "qkv_bias",
    "use_sliding_window",   "max_window_layers",     "layer_types",
    "router_aux_loss_coef", "output_router_logits"};

nn::TransformerConfig parse(const io::JsonView& config) {
  refuse_unknown_keys(config, kKeys);
  nn::TransformerConfig c = parse_common(config);
  c.attention.qkv_bias = config.boolean("qkv_bias", true);
  // The reference implementation masks every layer alike, whatever max_window_layers says.
  parse_qwen_windows(config, /*first=*/0, c);
  moe::LayerConfig ffn =
      routed_ffn(config, "softmax_topk", "num_experts", 60, "num_experts_per_tok", 4,
                 positive(config, "moe_intermediate_size", 1408));
  ffn.router.renormalize = config.boolean("norm_topk_prob", false);
  ffn.d_shared = positive(config, "shared_expert_intermediate_size", 5632);
  ffn.shared_gate = true;
  parse_sparse_layers(config, ffn, positive(config, "intermediate_size", 5632), c);
  return c;
}

nlohmann::json write(const nn::TransformerConfig& c) {
  nlohmann::json json = write_common(c);
  const moe::LayerConfig ffn = write_sparse_layers(c, json);
  write_qwen_windows(c, json);
  json["qkv_bias"] = c.attention.qkv_bias;
  json["shared_expert_intermediate_size"] = ffn.d_shared;
  return json;
}

bool can_express(const nn::TransformerConfig& c, std::string& reason) {
  return survives_round_trip(c, parse, write, reason);
}

TensorPlace place(const ParamSpec& spec, const nn::TransformerConfig& c, const StoredNames&) {
  if (spec.id.role == Role::kSharedExpertGate) {
    return TensorPlace::whole(layer_prefix(spec.id) + "mlp.shared_expert_gate.weight", spec);
  }
  return TensorPlace::whole(decoder_tensor_name(spec.id, c, {.shared = "shared_expert."}), spec);
}

const GgufForm kGguf = {.arch = "qwen2moe", .router = gguf_plain_softmax};

}  // namespace

const Architecture kQwen2Moe = {
    .model_type = "qwen2_moe",
    .class_name = "Qwen2MoeForCausalLM",
    .description = "Qwen2-MoE: softmax top-k and a gated shared expert",
    .parse = parse,
    .write = write,
    .can_express = can_express,
    .place = place,
    .gguf = &kGguf,
};

}  // namespace conclave::models
