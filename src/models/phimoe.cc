// PhiMoE (Abdin et al. 2024, Phi-3.5-MoE): LayerNorm with biases, biases of attention and head,
// longrope, and sparsemixer routing, whose threshold is the file's "router_jitter_noise".
#include "models/phimoe.h"

#include "models/common.h"
#include "models/gguf_form.h"

namespace conclave::models {
namespace {

constexpr std::string_view kKeys[] = {
    "intermediate_size",   "num_local_experts",    "num_experts_per_tok",
    "router_jitter_noise", "input_jitter_noise",   "lm_head_bias",
    "hidden_dropout",      "router_aux_loss_coef", "output_router_logits"};

nn::TransformerConfig parse(const io::JsonView& config) {
  refuse_unknown_keys(config, kKeys);
  require_number(config, "num_experts_per_tok", 2);
  nn::TransformerConfig c = parse_common(config, {.attention_bias = true,
                                                  .out_bias = true,
                                                  .sliding_window = true,
                                                  .norm_eps = 1e-5,
                                                  .rope_theta = 1e6});
  c.norm = nn::NormKind::kLayer;
  c.norm_bias = true;
  c.head_bias = config.boolean("lm_head_bias", false);
  moe::LayerConfig ffn =
      routed_ffn(config, "sparsemixer", "num_local_experts", 16, "num_experts_per_tok", 2,
                 positive(config, "intermediate_size"));
  ffn.router.mixer_epsilon = config.number("router_jitter_noise", 0, 1e3, 0.01);
  c.ffn_L.assign(static_cast<std::size_t>(c.n_layers), ffn);
  return c;
}

nlohmann::json write(const nn::TransformerConfig& c) {
  nlohmann::json json = write_common(c);
  const moe::LayerConfig& ffn = c.ffn_L.front();
  const int window = c.attention_at(0).window;
  json["sliding_window"] = window > 0 ? nlohmann::json(window) : nlohmann::json(nullptr);
  json["attention_bias"] = c.attention.qkv_bias;
  json["lm_head_bias"] = c.head_bias;
  json["intermediate_size"] = ffn.d_expert;
  json["num_local_experts"] = ffn.n_experts();
  json["num_experts_per_tok"] = 2;
  json["router_jitter_noise"] = ffn.router.mixer_epsilon;
  json["input_jitter_noise"] = 0.0;
  json.erase("head_dim");  // the reference implementation divides
  return json;
}

bool can_express(const nn::TransformerConfig& c, std::string& reason) {
  return survives_round_trip(c, parse, write, reason);
}

TensorPlace place(const ParamSpec& spec, const nn::TransformerConfig&, const StoredNames&) {
  const ParamId& id = spec.id;
  const std::string common = common_tensor_name(id);
  if (!common.empty()) return TensorPlace::whole(common, spec);
  const std::string moe = layer_prefix(id) + "block_sparse_moe.";
  if (id.role == Role::kRouter) return TensorPlace::whole(moe + "gate.weight", spec);
  const char* part = id.role == Role::kExpertGate ? "w1" : id.role == Role::kExpertUp ? "w3" : "w2";
  return TensorPlace::whole(fmt::format("{}experts.{}.{}.weight", moe, id.expert, part), spec);
}

// Files of other writers mean softmax top-k, another function than the reference implementation's;
// ours name the router.
const GgufForm kGguf = {
    .arch = "phimoe",
    .read =
        [](const GgufKeys& keys, nn::TransformerConfig& c) {
          c.norm = nn::NormKind::kLayer;
          const std::string router = keys.metadata().string(keys.key("expert_router"), "");
          if (router.empty()) return;
          for (moe::LayerConfig& ffn : c.ffn_L) {
            if (ffn.dense()) continue;
            const moe::RouterConfig usual = ffn.router;
            ffn.router = moe::default_router_config(router);
            ffn.router.n_experts = usual.n_experts;
            ffn.router.k = usual.k;
            ffn.router.mixer_epsilon = keys.number("expert_mixer_epsilon", 0, 1e3, 0.01);
          }
        },
    .write =
        [](const nn::TransformerConfig& c, io::GgufMetadata& metadata) {
          const moe::RouterConfig& r = c.ffn_L.front().router;
          metadata.set("phimoe.attention.layer_norm_rms_epsilon", c.norm_eps);
          if (r.kind != "sparsemixer") return;
          metadata.set("phimoe.expert_router", r.kind);
          metadata.set("phimoe.expert_mixer_epsilon", static_cast<float>(r.mixer_epsilon));
        }};

}  // namespace

const Architecture kPhimoe = {
    .model_type = "phimoe",
    .class_name = "PhimoeForCausalLM",
    .description = "PhiMoE: sparsemixer routing, LayerNorm, longrope",
    .parse = parse,
    .write = write,
    .can_express = can_express,
    .place = place,
    .gguf = &kGguf,
};

}  // namespace conclave::models
