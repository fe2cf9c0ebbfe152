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

constexpr std::string_view kKeys[] = {"intermediate_size",
                                      "moe_intermediate_size",
                                      "n_routed_experts",
                                      "n_shared_experts",
                                      "num_experts_per_tok",
                                      "routed_scaling_factor",
                                      "topk_method",
                                      "scoring_func",
                                      "n_group",
                                      "topk_group",
                                      "norm_topk_prob",
                                      "first_k_dense_replace",
                                      "moe_layer_freq",
                                      "kv_lora_rank",
                                      "q_lora_rank",
                                      "qk_nope_head_dim",
                                      "qk_rope_head_dim",
                                      "v_head_dim",
                                      "qk_head_dim",
                                      "mlp_bias",
                                      "aux_loss_alpha",
                                      "seq_aux",
                                      "ep_size",
                                      "num_nextn_predict_layers",
                                      "output_router_logits",
                                      "router_aux_loss_coef",
                                      "quantization_config"};

nn::TransformerConfig parse(const io::JsonView& config) {
  refuse_unknown_keys(config, kKeys);
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
                        .router =
                            [] {
                              moe::RouterConfig router = moe::default_router_config("softmax_topk");
                              router.renormalize = false;
                              return router;
                            },
                        .read = read_latent_gguf,
                        .write = write_latent_gguf};

}  // namespace

const Architecture kDeepseekV2 = {"deepseek_v2",
                                  "DeepseekV2ForCausalLM",
                                  "DeepSeek-V2: latent attention, softmax top-k within groups",
                                  parse,
                                  write,
                                  can_express,
                                  place_latent,
                                  beyond_last_layer,
                                  &kGguf};

}  // namespace conclave::models
