// Latent attention in the files (shapes; H heads, R latent, Qn and Qr the parts of a head, Qv):
//   q_proj [H (Qn + Qr), D], or q_a_proj [Rq, D], q_a_layernorm [Rq], q_b_proj [H (Qn + Qr), Rq]
//   (with biases of q_a_proj and kv_a_proj_with_mqa, where "attention_bias" says so)
//   kv_a_proj_with_mqa [R + Qr, D], kv_a_layernorm [R], kv_b_proj [H (Qn + Qv), R]
// The engine keeps a head's query as [rotary | other], and the two maps in kv_b_proj apart, the
// keys' one transposed: it takes queries to the latent.
#include "models/deepseek_layers.h"

#include <algorithm>
#include <cmath>

namespace conclave::models {
namespace {

// The elements of the rotary key behind the latent's.
std::vector<std::int32_t> latent_then_rotary(const nn::LatentAttention& m, bool pairs) {
  std::vector<std::int32_t> order;
  for (int i = 0; i < m.kv_rank; ++i) order.push_back(i);
  for (const std::int32_t i : halves_from_pairs(m.rope_dim, pairs ? m.rope_dim : 0)) {
    order.push_back(m.kv_rank + i);
  }
  return order;
}

std::string latent_name(Role role) {
  switch (role) {
    case Role::kQuery:
      return "q_proj.weight";
    case Role::kQueryDown:
      return "q_a_proj.weight";
    case Role::kQueryDownNorm:
      return "q_a_layernorm.weight";
    case Role::kQueryUp:
      return "q_b_proj.weight";
    case Role::kKvDown:
      return "kv_a_proj_with_mqa.weight";
    case Role::kKvDownNorm:
      return "kv_a_layernorm.weight";
    case Role::kQueryDownBias:
      return "q_a_proj.bias";
    case Role::kKvDownBias:
      return "kv_a_proj_with_mqa.bias";
    case Role::kKeyUp:
    case Role::kValueUp:
      return "kv_b_proj.weight";
    default:
      return "";
  }
}

}  // namespace

void refuse_unknown_deepseek_keys(const io::JsonView& config, std::string_view own_key) {
  const std::string_view keys[] = {own_key,
                                   "intermediate_size",
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
                                   "aux_loss_alpha",
                                   "seq_aux",
                                   "ep_size",
                                   "num_nextn_predict_layers",
                                   "output_router_logits",
                                   "router_aux_loss_coef",
                                   "quantization_config"};
  refuse_unknown_keys(config, keys);
}

nn::TransformerConfig parse_latent(const io::JsonView& config, std::int64_t q_rank_if_absent,
                                   bool pairs) {
  nn::TransformerConfig c = parse_common(config, {.attention_bias = true, .out_bias = true});
  nn::LatentAttention& m = c.attention.latent;
  const auto width = [&](const char* key, std::int64_t if_absent) {
    return static_cast<int>(config.integer(key, 1, 4096, if_absent));
  };
  m.kv_rank = static_cast<int>(config.integer("kv_lora_rank", 1, 65536, 512));
  // null says that queries have no latent; a missing key leaves the default.
  const bool no_rank = config.value().contains("q_lora_rank") && !config.has("q_lora_rank");
  m.q_rank =
      no_rank ? 0 : static_cast<int>(config.integer("q_lora_rank", 0, 65536, q_rank_if_absent));
  m.nope_dim = width("qk_nope_head_dim", 128);
  m.rope_dim = width("qk_rope_head_dim", 64);
  m.value_dim = width("v_head_dim", 128);
  m.norm_eps = 1e-6f;  // whatever rms_norm_eps is
  c.head_dim = m.nope_dim + m.rope_dim;
  c.rope.rotary_dim = m.rope_dim;
  c.rope.stored_in_pairs = pairs;
  c.n_kv_heads = c.n_heads;
  return c;
}

nlohmann::json write_latent(const nn::TransformerConfig& c) {
  const nn::LatentAttention& m = c.attention.latent;
  nlohmann::json json = write_common(c);
  json["kv_lora_rank"] = m.kv_rank;
  json["q_lora_rank"] = m.q_rank > 0 ? nlohmann::json(m.q_rank) : nlohmann::json(nullptr);
  json["qk_nope_head_dim"] = m.nope_dim;
  json["qk_rope_head_dim"] = m.rope_dim;
  json["v_head_dim"] = m.value_dim;
  json["head_dim"] = m.rope_dim;
  json["attention_bias"] = c.attention.qkv_bias;
  return json;
}

void parse_leading_dense(const io::JsonView& config, const moe::LayerConfig& routed,
                         std::int64_t dense_if_absent, nn::TransformerConfig& c) {
  const std::int64_t dense = config.integer("first_k_dense_replace", 0, 1 << 20, dense_if_absent);
  c.ffn_L.assign(static_cast<std::size_t>(c.n_layers), routed);
  const auto leading = std::min<std::int64_t>(dense, c.n_layers);
  if (leading == 0) return;
  std::fill_n(c.ffn_L.begin(), leading, dense_ffn(positive(config, "intermediate_size")));
}

moe::LayerConfig write_leading_dense(const nn::TransformerConfig& c, nlohmann::json& json) {
  int dense = 0;
  while (dense < c.n_layers && c.ffn_L[static_cast<std::size_t>(dense)].dense()) ++dense;
  moe::LayerConfig routed;
  if (dense < c.n_layers) routed = c.ffn_L[static_cast<std::size_t>(dense)];
  const int shared = std::max(1, routed.d_expert);
  json["first_k_dense_replace"] = dense;
  json["intermediate_size"] = dense > 0 ? c.ffn_L.front().d_expert : shared;
  json["moe_intermediate_size"] = routed.d_expert;
  json["n_routed_experts"] = routed.n_experts();
  json["n_shared_experts"] = routed.d_shared / shared;
  json["num_experts_per_tok"] = routed.router.k;
  json["routed_scaling_factor"] = routed.router.scale;
  json["norm_topk_prob"] = routed.router.renormalize;
  json["n_group"] = routed.router.n_groups;
  json["topk_group"] = routed.router.topk_groups;
  return routed;
}

void parse_groups(const io::JsonView& config, std::int64_t groups, std::int64_t kept,
                  moe::RouterConfig& router) {
  router.n_groups = static_cast<int>(config.integer("n_group", 1, moe::kMaxExperts, groups));
  router.topk_groups = static_cast<int>(config.integer("topk_group", 1, moe::kMaxExperts, kept));
}

TensorPlace place_latent(const ParamSpec& spec, const nn::TransformerConfig& c,
                         const StoredNames&) {
  const ParamId& id = spec.id;
  const nn::LatentAttention& m = c.attention.latent;
  const std::string name = latent_name(id.role);
  if (name.empty()) return TensorPlace::whole(decoder_tensor_name(id, c), spec);
  const std::string path = layer_prefix(id) + "self_attn." + name;
  if (id.role == Role::kKeyUp || id.role == Role::kValueUp) {
    const std::int64_t head = m.nope_dim + m.value_dim;
    const std::vector<std::int64_t> dims = {c.n_heads * head, m.kv_rank};
    if (id.role == Role::kValueUp)
      return TensorPlace::rows(path, dims, id.expert * head + m.nope_dim);
    TensorPlace place = TensorPlace::rows(path, dims, id.expert * head);
    std::swap(place.row_stride, place.col_stride);  // transposed
    return place;
  }
  TensorPlace place = TensorPlace::whole(path, spec);
  const bool pairs = c.rope.stored_in_pairs;
  if (id.role == Role::kQuery || id.role == Role::kQueryUp) {
    place.order = rotary_first(m.nope_dim, m.rope_dim, pairs);
  } else if ((id.role == Role::kKvDown || id.role == Role::kKvDownBias) && pairs) {
    place.order = latent_then_rotary(m, pairs);
  }
  return place;
}

bool has_sigmoid_gating(const GgufKeys& keys) {
  return keys.integer("expert_gating_func", 0, 255, 0) == 2;
}

// YaRN's magnitude is not on the angles but on the scores: (0.1 m log(factor) + 1)^2, where the
// file gives 0.1 m.
void read_latent_gguf(const GgufKeys& keys, nn::TransformerConfig& c) {
  c.rope.stored_in_pairs = true;  // in directories, too
  nn::RopeScaling& s = c.rope.scaling;
  if (s.kind != nn::RopeScalingKind::kYarn) return;
  if (!keys.has("rope.scaling.attn_factor")) s.magnitude = s.long_magnitude = 1;
  const double multiplier = keys.number("rope.scaling.yarn_log_multiplier", 0, 1e3, 0);
  if (multiplier == 0 || keys.has("attention.scale")) return;
  const double m = multiplier * std::log(s.factor) + 1;
  c.attention.scale = m * m / std::sqrt(static_cast<double>(c.head_dim));
}

void write_latent_gguf(const nn::TransformerConfig& c, io::GgufMetadata& metadata) {
  const nn::RopeScaling& s = c.rope.scaling;
  if (s.kind != nn::RopeScalingKind::kYarn || c.attention.scale == 0 || s.factor <= 1) return;
  const double m = std::sqrt(c.attention.scale * std::sqrt(static_cast<double>(c.head_dim)));
  metadata.set("deepseek2.rope.scaling.yarn_log_multiplier",
               static_cast<float>((m - 1) / std::log(s.factor)));
}

}  // namespace conclave::models
