// DeepSeek-V2 (DeepSeek-AI 2024): multi-head latent attention, softmax routing that may be limited
// to the best groups of experts, shared experts, leading dense layers.
//
// As the reference implementation computes: weights are never renormalised (norm_topk_prob is not
// looked at), and YaRN does not change the scale of the scores.
#include "models/deepseek_v2.h"

#include "models/deepseek_layers.h"
#include "models/gguf_form.h"

namespace conclave::models {
namespace {

nn::TransformerConfig parse(const io::JsonView& config) {
  refuse_unknown_deepseek_keys(config, "mlp_bias");
  require_boolean(config, "mlp_bias", false);
  require_number(config, "moe_layer_freq", 1);
  require_string(config, "scoring_func", "softmax");
  check_quantization(config, "fp8");
  nn::TransformerConfig c = parse_latent(config, /*q_rank_if_absent=*/1536, /*pairs=*/true);
  const int width = positive(config, "moe_intermediate_size", 1407);
  moe::LayerConfig ffn =
      routed_ffn(config, "softmax_topk", "n_routed_experts", 64, "num_experts_per_tok", 0, width);
  ffn.router.renormalize = false;
  ffn.router.scale = config.number("routed_scaling_factor", 1e-6, 1e6, 1.0);
  const std::string method = config.string("topk_method", "greedy");
  if (method == "group_limited_greedy") {
    parse_groups(config, 1, 1, ffn.router);
  } else {
    require_string(config, "topk_method", "greedy");
  }
  ffn.d_shared = width * static_cast<int>(config.integer("n_shared_experts", 0, 1024, 0));
  parse_leading_dense(config, ffn, 0, c);
  return c;
}

nlohmann::json write(const nn::TransformerConfig& c) {
  nlohmann::json json = write_latent(c);
  const moe::LayerConfig routed = write_leading_dense(c, json);
  const bool groups = routed.router.topk_groups < routed.router.n_groups;
  json["topk_method"] = groups ? "group_limited_greedy" : "greedy";
  return json;
}

bool can_express(const nn::TransformerConfig& c, std::string& reason) {
  return survives_round_trip(c, parse, write, reason);
}

const GgufForm kGguf = {.arch = "deepseek2",
                        .pairs = true,
                        .accepts = [](const GgufKeys& keys) { return !has_sigmoid_gating(keys); },
                        .router = gguf_plain_softmax,
                        .read = read_latent_gguf,
                        .write = write_latent_gguf};

}  // namespace

const Architecture kDeepseekV2 = {
    .model_type = "deepseek_v2",
    .class_name = "DeepseekV2ForCausalLM",
    .description = "DeepSeek-V2: latent attention, softmax top-k within groups",
    .parse = parse,
    .write = write,
    .can_express = can_express,
    .place = place_latent,
    .ignores = beyond_last_layer,
    .gguf = &kGguf,
};

}  // namespace conclave::models
