#include "models/mixtral.h"

#include "models/common.h"
#include "models/gguf_form.h"

namespace conclave::models {
namespace {

constexpr std::string_view kKeys[] = {"intermediate_size",    "num_local_experts",
                                      "num_experts_per_tok",  "router_aux_loss_coef",
                                      "output_router_logits", "router_jitter_noise"};

nn::TransformerConfig parse(const io::JsonView& config) {
  refuse_unknown_keys(config, kKeys);
  nn::TransformerConfig c =
      parse_common(config, {.sliding_window = true, .norm_eps = 1e-5, .rope_theta = 1e6});
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
  const int window = c.attention_at(0).window;
  json["sliding_window"] = window > 0 ? nlohmann::json(window) : nlohmann::json(nullptr);
  json["output_router_logits"] = false;
  json["router_jitter_noise"] = 0.0;
  return json;
}

bool can_express(const nn::TransformerConfig& c, std::string& reason) {
  if (!plain_decoder(c, reason)) return false;
  for (int layer = 1; layer < c.n_layers; ++layer) {
    if (!(c.attention_at(layer) == c.attention_at(0))) reason = "layers that differ";
  }
  if (!reason.empty()) return false;
  for (const moe::LayerConfig& ffn : c.ffn_L) {
    const moe::LayerConfig& first = c.ffn_L.front();
    const moe::RouterConfig& r = ffn.router;
    if (ffn.dense() || r.kind != "softmax_topk" || !r.renormalize || r.scale != 1 ||
        r.n_groups != 1 || ffn.d_shared > 0 || ffn.expert_bias || !plain_experts(ffn)) {
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
  std::string common = common_tensor_name(id);
  if (!common.empty()) return common;
  const std::string moe = layer_prefix(id) + "block_sparse_moe.";
  if (id.role == Role::kRouter) return moe + "gate.weight";
  const char* part = id.role == Role::kExpertGate ? "w1" : id.role == Role::kExpertUp ? "w3" : "w2";
  return fmt::format("{}experts.{}.{}.weight", moe, id.expert, part);
}

TensorPlace place(const ParamSpec& spec, const nn::TransformerConfig&, const StoredNames&) {
  return TensorPlace::whole(tensor_name(spec.id), spec);
}

// Mixtral and Llama share a name; experts tell them apart.
const GgufForm kGguf = {.arch = "llama", .pairs = true, .accepts = [](const GgufKeys& keys) {
                          return keys.has("expert_count") &&
                                 keys.integer("expert_count", 0, moe::kMaxExperts) > 0;
                        }};

}  // namespace

const Architecture kMixtral = {
    .model_type = "mixtral",
    .class_name = "MixtralForCausalLM",
    .description = "Mixtral: softmax top-k routing over SwiGLU experts in every layer",
    .parse = parse,
    .write = write,
    .can_express = can_express,
    .place = place,
    .gguf = &kGguf,
};

}  // namespace conclave::models
