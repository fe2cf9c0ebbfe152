#include "models/mixtral.h"

#include "models/common.h"

namespace conclave::models {
namespace {

constexpr std::string_view kKeys[] = {"intermediate_size",    "num_local_experts",
                                      "num_experts_per_tok",  "router_aux_loss_coef",
                                      "output_router_logits", "router_jitter_noise"};

nn::TransformerConfig parse(const io::JsonView& config) {
  refuse_unknown_keys(config, kKeys);
  nn::TransformerConfig c = parse_common(config);
  moe::LayerConfig ffn;
  ffn.router = moe::default_router_config("softmax_topk");
  ffn.router.n_experts = static_cast<int>(config.integer("num_local_experts", 2, 65536, 8));
  ffn.router.k = static_cast<int>(config.integer("num_experts_per_tok", 1, 65536, 2));
  ffn.router.renormalize = true;
  ffn.d_expert = static_cast<int>(config.integer("intermediate_size", 1, 1 << 20));
  c.ffn_L.assign(static_cast<std::size_t>(c.n_layers), ffn);
  return c;
}

nlohmann::json write(const nn::TransformerConfig& c) {
  nlohmann::json json = write_common(c);
  const moe::LayerConfig& ffn = c.ffn_L.front();
  json["intermediate_size"] = ffn.d_expert;
  json["num_local_experts"] = ffn.n_experts();
  json["num_experts_per_tok"] = ffn.router.k;
  json["sliding_window"] = c.window > 0 ? nlohmann::json(c.window) : nlohmann::json(nullptr);
  json["output_router_logits"] = false;
  json["router_jitter_noise"] = 0.0;
  return json;
}

bool can_express(const nn::TransformerConfig& c, std::string& reason) {
  if (c.rope.rotary_dim != 0 && c.rope.rotary_dim != c.head_dim) {
    reason = "rotary positions on part of a head";
    return false;
  }
  for (const moe::LayerConfig& ffn : c.ffn_L) {
    const moe::LayerConfig& first = c.ffn_L.front();
    const moe::RouterConfig& r = ffn.router;
    if (ffn.dense() || r.kind != "softmax_topk" || !r.renormalize || r.scale != 1 ||
        r.n_groups != 1 || ffn.d_shared > 0 || ffn.expert_bias) {
      reason = "a router or experts that are not Mixtral's";
      return false;
    }
    if (r.n_experts != first.router.n_experts || r.k != first.router.k ||
        ffn.d_expert != first.d_expert) {
      reason = "layers that differ";
      return false;
    }
  }
  return true;
}

std::string tensor_name(const ParamId& id) {
  const std::string common = common_tensor_name(id);
  if (!common.empty()) return common;
  const std::string moe = layer_prefix(id) + "block_sparse_moe.";
  if (id.role == Role::kRouter) return moe + "gate.weight";
  const char* part = id.role == Role::kExpertGate ? "w1" : id.role == Role::kExpertUp ? "w3" : "w2";
  return fmt::format("{}experts.{}.{}.weight", moe, id.expert, part);
}

}  // namespace

const Architecture kMixtral = {"mixtral",
                               "MixtralForCausalLM",
                               "Mixtral: softmax top-k routing over SwiGLU experts in every layer",
                               parse,
                               write,
                               can_express,
                               tensor_name};

}  // namespace conclave::models
