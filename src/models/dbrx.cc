// DBRX (Databricks 2024): LayerNorm without biases, clamped projections that are stored together,
// expert weights divided by a p-norm. Its config.json has names of its own.
#include "models/dbrx.h"

#include "models/common.h"
#include "models/gguf_form.h"

namespace conclave::models {
namespace {

constexpr std::string_view kKeys[] = {
    "d_model",    "n_heads",   "n_layers",    "max_seq_len",          "attn_config",
    "ffn_config", "emb_pdrop", "resid_pdrop", "output_router_logits", "router_aux_loss_coef"};
constexpr std::string_view kAttnKeys[] = {"attn_pdrop", "clip_qkv", "kv_n_heads"};
constexpr std::string_view kFfnKeys[] = {"ffn_act_fn",
                                         "ffn_hidden_size",
                                         "moe_num_experts",
                                         "moe_top_k",
                                         "moe_jitter_eps",
                                         "moe_loss_weight",
                                         "moe_normalize_expert_weights"};

moe::LayerConfig parse_ffn(const io::JsonView& config) {
  refuse_unknown_keys(config, kFfnKeys);
  if (config.has("ffn_act_fn")) require_string(config.object("ffn_act_fn"), "name", "silu");
  moe::LayerConfig ffn = routed_ffn(config, "softmax_topk", "moe_num_experts", 4, "moe_top_k", 1,
                                    positive(config, "ffn_hidden_size", 3584));
  // null says that weights are not divided; a missing key leaves the default.
  constexpr std::string_view kNorm = "moe_normalize_expert_weights";
  ffn.router.renormalize = config.has(kNorm) || !config.value().contains(kNorm);
  if (ffn.router.renormalize) ffn.router.norm_power = config.number(kNorm, 1e-3, 64, 1);
  return ffn;
}

nn::TransformerConfig parse(const io::JsonView& config) {
  refuse_unknown_keys(config, kKeys);
  require_boolean(config, "tie_word_embeddings", false);
  // The sizes under the names that other decoders use.
  nlohmann::json common = nlohmann::json::object();
  const auto rename = [&](const char* from, const char* to, std::int64_t max) {
    common[to] = config.integer(from, 1, max);
  };
  rename("d_model", "hidden_size", 1 << 20);
  rename("n_heads", "num_attention_heads", 65536);
  rename("n_layers", "num_hidden_layers", 4096);
  rename("vocab_size", "vocab_size", 1 << 24);
  common["max_position_embeddings"] = config.integer("max_seq_len", 1, 1 << 24, 2048);
  common["num_key_value_heads"] = 1;
  double clip = 0;
  if (config.has("attn_config")) {
    const io::JsonView attention = config.object("attn_config");
    refuse_unknown_keys(attention, kAttnKeys);
    common["num_key_value_heads"] = attention.integer("kv_n_heads", 1, 65536, 1);
    common["rope_theta"] = attention.number("rope_theta", 1e-3, 1e12, 10000);
    clip = attention.number("clip_qkv", 1e-6, 1e6, 0);
  }
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    if (config.has(key)) common[key] = config.value().at(key);
  }
  nn::TransformerConfig c =
      parse_common(io::JsonView(common, config.file_name()), {.norm_eps = 1e-5});
  c.norm = nn::NormKind::kLayer;
  c.attention.clip_qkv = clip;
  const nlohmann::json none = nlohmann::json::object();
  const moe::LayerConfig ffn =
      parse_ffn(config.has("ffn_config") ? config.object("ffn_config")
                                         : io::JsonView(none, config.file_name()));
  c.ffn_L.assign(static_cast<std::size_t>(c.n_layers), ffn);
  return c;
}

nlohmann::json write(const nn::TransformerConfig& c) {
  const nlohmann::json common = write_common(c);
  const moe::LayerConfig& ffn = c.ffn_L.front();
  const auto or_null = [](bool given, double value) {
    return given ? nlohmann::json(value) : nlohmann::json(nullptr);
  };
  nlohmann::json json = {
      {"d_model", c.d_model},
      {"n_heads", c.n_heads},
      {"n_layers", c.n_layers},
      {"vocab_size", c.vocab_size},
      {"max_seq_len", c.max_positions},
      {"tie_word_embeddings", false},
      {"attn_config",
       {{"kv_n_heads", c.n_kv_heads},
        {"rope_theta", c.rope.theta},
        {"clip_qkv", or_null(c.attention.clip_qkv > 0, c.attention.clip_qkv)}}},
      {"ffn_config",
       {{"ffn_act_fn", {{"name", "silu"}}},
        {"ffn_hidden_size", ffn.d_expert},
        {"moe_num_experts", ffn.n_experts()},
        {"moe_top_k", ffn.router.k},
        {"moe_normalize_expert_weights", or_null(ffn.router.renormalize, ffn.router.norm_power)}}}};
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    json[key] = common.at(key);
  }
  return json;
}

bool can_express(const nn::TransformerConfig& c, std::string& reason) {
  return survives_round_trip(c, parse, write, reason);
}

TensorPlace place(const ParamSpec& spec, const nn::TransformerConfig& c, const StoredNames&) {
  const ParamId& id = spec.id;
  const auto whole = [&](const std::string& name) { return TensorPlace::whole(name, spec); };
  if (id.role == Role::kEmbedding) return whole("transformer.wte.weight");
  if (id.role == Role::kFinalNorm) return whole("transformer.norm_f.weight");
  if (id.role == Role::kHead) return whole("lm_head.weight");
  const std::string block = fmt::format("transformer.blocks.{}.", id.layer);
  const std::string attention = block + "norm_attn_norm.";
  const std::string experts = block + "ffn.experts.mlp.";
  const std::int64_t Q = c.head_dim, H = c.n_heads, G = c.n_kv_heads, D = c.d_model;
  const auto qkv = [&](std::int64_t first) {
    return TensorPlace::rows(attention + "attn.Wqkv.weight", {(H + 2 * G) * Q, D}, first);
  };
  const moe::LayerConfig& ffn = c.ffn_L[static_cast<std::size_t>(id.layer)];
  const std::int64_t F = ffn.d_expert;
  const auto expert = [&](const char* name) {
    return TensorPlace::rows(experts + name, {ffn.n_experts() * F, D}, id.expert * F);
  };
  switch (id.role) {
    case Role::kAttnNorm:
      return whole(attention + "norm_1.weight");
    case Role::kFfnNorm:
      return whole(attention + "norm_2.weight");
    case Role::kQuery:
      return qkv(0);
    case Role::kKey:
      return qkv(H * Q);
    case Role::kValue:
      return qkv((H + G) * Q);
    case Role::kAttnOut:
      return whole(attention + "attn.out_proj.weight");
    case Role::kExpertGate:
      return expert("w1");
    case Role::kExpertUp:
      return expert("v1");
    case Role::kExpertDown: {
      TensorPlace place = expert("w2");  // [F, D] of each expert
      std::swap(place.row_stride, place.col_stride);
      return place;
    }
    default:
      return whole(block + "ffn.router.layer.weight");
  }
}

const GgufForm kGguf = {.arch = "dbrx", .fused_qkv = true, .name = [](Role role) -> const char* {
                          return role == Role::kFfnNorm ? "attn_output_norm.weight" : nullptr;
                        }};

}  // namespace

const Architecture kDbrx = {
    .model_type = "dbrx",
    .class_name = "DbrxForCausalLM",
    .description = "DBRX: softmax top-k by a p-norm, LayerNorm, clamped projections",
    .parse = parse,
    .write = write,
    .can_express = can_express,
    .place = place,
    .gguf = &kGguf,
};

}  // namespace conclave::models
