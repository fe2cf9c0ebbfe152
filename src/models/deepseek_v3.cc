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
  refuse_unknown_deepseek_keys(config, "rope_interleave");
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
                        .router = gguf_grouped_sigmoid,
                        .read = read_latent_gguf,
                        .write = write_latent_gguf};

}  // namespace

const Architecture kDeepseekV3 = {
    .model_type = "deepseek_v3",
    .class_name = "DeepseekV3ForCausalLM",
    .description = "DeepSeek-V3: latent attention, sigmoid top-k with a bias",
    .parse = parse,
    .write = write,
    .can_express = can_express,
    .place = place_latent,
    .ignores = beyond_last_layer,
    .gguf = &kGguf,
};

const Architecture kKimiK2 = {
    .model_type = "kimi_k2",
    .class_name = "DeepseekV3ForCausalLM",
    .description = "Kimi-K2: the DeepSeek-V3 decoder with more experts",
    .parse = parse,
    .write = write,
    .can_express = can_express,
    .place = place_latent,
    .ignores = beyond_last_layer,
    .gguf = &kGguf,
};

}  // namespace conclave::models
