// DeepSeek-V3 and R1 (DeepSeek-AI 2024), and Kimi-K2 (Moonshot AI 2025), whose text model is the
// same: multi-head latent attention, sigmoid routing with a selection bias within the best groups.
//
// As the reference implementation computes: experts outside the kept groups have score 0, and YaRN
// with mscale_all_dim multiplies the scale of the scores.
#include "models/deepseek_v3.h"

#include <cmath>

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
                                      "rope_interleave",
                                      "aux_loss_alpha",
                                      "seq_aux",
                                      "ep_size",
                                      "num_nextn_predict_layers",
                                      "output_router_logits",
                                      "router_aux_loss_coef",
                                      "quantization_config"};

// "rope_scaling" under either of its names.
const char* scaling_key(const io::JsonView& config) {
  return config.has("rope_scaling") ? "rope_scaling" : "rope_parameters";
}

void parse_score_scale(const io::JsonView& config, nn::TransformerConfig& c) {
  const char* key = scaling_key(config);
  if (!config.has(key)) return;
  const io::JsonView rope = config.object(key);
  const double all_dim = rope.number("mscale_all_dim", -1e3, 1e3, 0);
  if (all_dim == 0) return;
  const double m = yarn_magnitude(rope.number("factor", 1e-3, 1e6, 1), all_dim);
  if (m == 1) return;
  c.attention.scale = m * m / std::sqrt(static_cast<double>(c.head_dim));
}

nn::TransformerConfig parse(const io::JsonView& config) {
  refuse_unknown_keys(config, kKeys);
  require_number(config, "moe_layer_freq", 1);
  require_string(config, "scoring_func", "sigmoid");
  require_string(config, "topk_method", "noaux_tc");
  check_quantization(config, "fp8");
  nn::TransformerConfig c =
      parse_latent(config, /*q_rank_if_absent=*/1536, config.boolean("rope_interleave", true));
  parse_score_scale(config, c);
  const int width = positive(config, "moe_intermediate_size", 2048);
  moe::LayerConfig ffn =
      routed_ffn(config, "sigmoid_bias", "n_routed_experts", 256, "num_experts_per_tok", 8, width);
  ffn.router.renormalize = config.boolean("norm_topk_prob", true);
  ffn.router.scale = config.number("routed_scaling_factor", 1e-6, 1e6, 2.5);
  parse_groups(config, 8, 4, ffn.router);
  ffn.router.group_fill_zero = true;
  ffn.expert_bias = true;
  ffn.d_shared = width * static_cast<int>(config.integer("n_shared_experts", 0, 1024, 1));
  parse_leading_dense(config, ffn, 3, c);
  return c;
}

nlohmann::json write(const nn::TransformerConfig& c) {
  nlohmann::json json = write_latent(c);
  write_leading_dense(c, json);
  json["topk_method"] = "noaux_tc";
  json["scoring_func"] = "sigmoid";
  json["rope_interleave"] = c.rope.stored_in_pairs;
  if (c.attention.scale > 0 && json["rope_scaling"].is_object()) {
    const double m = std::sqrt(c.attention.scale * std::sqrt(static_cast<double>(c.head_dim)));
    json["rope_scaling"]["mscale_all_dim"] = (m - 1) / (0.1 * std::log(c.rope.scaling.factor));
  }
  return json;
}

bool can_express(const nn::TransformerConfig& c, std::string& reason) {
  return survives_round_trip(c, parse, write, reason);
}

const GgufForm kGguf = {.arch = "deepseek2",
                        .pairs = true,
                        .accepts = has_sigmoid_gating,
                        .router =
                            [] {
                              moe::RouterConfig r = moe::default_router_config("sigmoid_bias");
                              r.group_fill_zero = true;
                              return r;
                            },
                        .read = read_latent_gguf,
                        .write = write_latent_gguf};

}  // namespace

const Architecture kDeepseekV3 = {"deepseek_v3",
                                  "DeepseekV3ForCausalLM",
                                  "DeepSeek-V3: latent attention, sigmoid top-k with a bias",
                                  parse,
                                  write,
                                  can_express,
                                  place_latent,
                                  beyond_last_layer,
                                  &kGguf};

const Architecture kKimiK2 = {"kimi_k2",
                              "DeepseekV3ForCausalLM",
                              "Kimi-K2: the DeepSeek-V3 decoder with more experts",
                              parse,
                              write,
                              can_express,
                              place_latent,
                              beyond_last_layer,
                              &kGguf};

}  // namespace conclave::models
