// OLMoE (Muennighoff et al. 2024): RMSNorm over whole projections of queries and keys, values
// clamped where the file says so, many small experts.
#include "models/olmoe.h"

#include "models/common.h"
#include "models/gguf_form.h"

namespace conclave::models {
namespace {

constexpr std::string_view kKeys[] = {"intermediate_size",   "num_experts", "num_experts_per_tok",
                                      "norm_topk_prob",      "clip_qkv",    "router_aux_loss_coef",
                                      "output_router_logits"};

nn::TransformerConfig parse(const io::JsonView& config) {
  refuse_unknown_keys(config, kKeys);
  nn::TransformerConfig c =
      parse_common(config, {.attention_bias = true, .out_bias = true, .norm_eps = 1e-5});
  c.attention.qk_norm = nn::QkNorm::kProjection;
  c.attention.clip_qkv = config.number("clip_qkv", 1e-6, 1e6, 0);
  moe::LayerConfig ffn =
      routed_ffn(config, "softmax_topk", "num_experts", 64, "num_experts_per_tok", 8,
                 positive(config, "intermediate_size"));
  ffn.router.renormalize = config.boolean("norm_topk_prob", false);
  c.ffn_L.assign(static_cast<std::size_t>(c.n_layers), ffn);
  return c;
}

nlohmann::json write(const nn::TransformerConfig& c) {
  nlohmann::json json = write_common(c);
  const moe::LayerConfig& ffn = c.ffn_L.front();
  const double clip = c.attention.clip_qkv;
  json["attention_bias"] = c.attention.qkv_bias;
  json["clip_qkv"] = clip > 0 ? nlohmann::json(clip) : nlohmann::json(nullptr);
  json["intermediate_size"] = ffn.d_expert;
  json["num_experts"] = ffn.n_experts();
  json["num_experts_per_tok"] = ffn.router.k;
  json["norm_topk_prob"] = ffn.router.renormalize;
  json.erase("head_dim");  // the reference implementation divides
  return json;
}

bool can_express(const nn::TransformerConfig& c, std::string& reason) {
  return survives_round_trip(c, parse, write, reason);
}

const GgufForm kGguf = {.arch = "olmoe", .router = gguf_plain_softmax};

}  // namespace

const Architecture kOlmoe = {
    .model_type = "olmoe",
    .class_name = "OlmoeForCausalLM",
    .description = "OLMoE: softmax top-k over small experts, norms of queries and keys",
    .parse = parse,
    .write = write,
    .can_express = can_express,
    .place = place_decoder,
    .gguf = &kGguf,
};

}  // namespace conclave::models
