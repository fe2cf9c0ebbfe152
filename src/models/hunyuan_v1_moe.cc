// HunYuan-MoE (Tencent 2025, Hunyuan-A13B): norms of queries and keys after their rotation, a
// shared expert as wide as the routed ones, experts and choices that may differ by layer.
#include "models/hunyuan_v1_moe.h"

#include <cmath>

#include "models/common.h"
#include "models/gguf_form.h"

namespace conclave::models {
namespace {

constexpr std::string_view kKeys[] = {"intermediate_size",
                                      "num_experts",
                                      "moe_topk",
                                      "eod_token_id",
                                      "router_aux_loss_coef",
                                      "output_router_logits",
                                      "moe_intermediate_size",
                                      "num_shared_expert",
                                      "use_qk_norm",
                                      "qk_norm",
                                      "norm_topk_prob",
                                      "use_mixed_mlp_moe",
                                      "moe_layer_num_skipped",
                                      "attention_head_dim",
                                      "use_cla",
                                      "use_mla",
                                      "mlp_bias",
                                      "norm_type",
                                      "use_rotary_pos_emb",
                                      "moe_drop_tokens",
                                      "moe_random_routing_dropped_token",
                                      "cla_share_factor",
                                      "group_limited_greedy",
                                      "routed_scaling_factor",
                                      "im_end_id",
                                      "im_newline_id",
                                      "im_start_id",
                                      "text_end_id",
                                      "text_start_id",
                                      "mask_init_id",
                                      "num_media_embeds",
                                      "pool_type",
                                      "class_num",
                                      "add_classification_head",
                                      "dense_list",
                                      "org_vocab_size",
                                      "position_embedding_xdrope",
                                      "skip_cls_token",
                                      "n_group",
                                      "topk_group",
                                      "q_lora_rank",
                                      "kv_lora_rank",
                                      "qk_nope_head_dim",
                                      "qk_rope_head_dim",
                                      "v_head_dim"};

// A number, or a list with one a layer.
std::vector<std::int64_t> per_layer(const io::JsonView& config, const char* key, int n_layers,
                                    std::int64_t if_absent) {
  const auto layers = static_cast<std::size_t>(n_layers);
  if (config.has(key) && config.value().at(key).is_array()) {
    std::vector<std::int64_t> values = config.integers(key, 1, 1 << 20);
    if (values.size() < layers) {
      config.fail_at(key, fmt::format("found {} entries for {} layers", values.size(), layers));
    }
    values.resize(layers);
    return values;
  }
  return std::vector<std::int64_t>(layers, config.integer(key, 1, 1 << 20, if_absent));
}

void require_layers(const io::JsonView& config, const char* key, int n_layers, std::int64_t value) {
  for (const std::int64_t found : per_layer(config, key, n_layers, value)) {
    if (found == value) continue;
    fail(ErrorKind::kUnsupported, "{}: key '{}': found {}, only {} is supported",
         config.file_name(), key, found, value);
  }
}

// What the published files say of things that the reference implementation always does.
void check_fixed(const io::JsonView& config, const nn::TransformerConfig& c) {
  require_layers(config, "moe_intermediate_size", c.n_layers,
                 positive(config, "intermediate_size"));
  require_layers(config, "num_shared_expert", c.n_layers, 1);
  require_boolean(config, "use_qk_norm", true);
  require_boolean(config, "qk_norm", true);
  require_boolean(config, "norm_topk_prob", true);
  require_boolean(config, "use_mixed_mlp_moe", true);
  require_boolean(config, "use_rotary_pos_emb", true);
  require_number(config, "moe_layer_num_skipped", 0);
  require_number(config, "attention_head_dim", c.head_dim);
  for (const char* key : {"use_cla", "use_mla", "mlp_bias", "moe_drop_tokens",
                          "add_classification_head", "group_limited_greedy"}) {
    require_boolean(config, key, false);
  }
  require_string(config, "norm_type", "rms");
}

// "dynamic" with "alpha" widens the rotary base from the first position on (NTK-aware scaling).
void parse_alpha(const io::JsonView& config, nn::TransformerConfig& c) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!config.has(key)) continue;
    const io::JsonView rope = config.object(key);
    const double alpha = rope.number("alpha", 0, 1e9, 0);
    if (alpha == 0 || rope.string("rope_type", rope.string("type", "default")) != "dynamic") return;
    const double d = c.head_dim;
    if (c.head_dim < 4) config.fail_at(key, "'alpha' needs heads of at least 4 elements");
    c.rope.theta *= std::pow(alpha, d / (d - 2));
    return;
  }
}

nn::TransformerConfig parse(const io::JsonView& config) {
  refuse_unknown_keys(config, kKeys);
  nn::TransformerConfig c =
      parse_common(config, {.attention_bias = true, .out_bias = true, .norm_eps = 1e-5});
  c.attention.qk_norm = nn::QkNorm::kHead;
  c.attention.norm_after_rope = true;
  check_fixed(config, c);
  parse_alpha(config, c);
  const auto experts = per_layer(config, "num_experts", c.n_layers, 1);
  const auto topk = per_layer(config, "moe_topk", c.n_layers, 1);
  for (std::size_t layer = 0; layer < experts.size(); ++layer) {
    const nlohmann::json sizes = {{"num_experts", experts[layer]}, {"moe_topk", topk[layer]}};
    moe::LayerConfig ffn =
        routed_ffn(io::JsonView(sizes, config.file_name()), "softmax_topk", "num_experts", 1,
                   "moe_topk", 1, positive(config, "intermediate_size"));
    ffn.router.renormalize = true;
    ffn.d_shared = ffn.d_expert;
    c.ffn_L.push_back(ffn);
  }
  return c;
}

nlohmann::json write(const nn::TransformerConfig& c) {
  nlohmann::json json = write_common(c);
  nlohmann::json experts = nlohmann::json::array(), topk = nlohmann::json::array();
  bool equal = true;
  for (const moe::LayerConfig& ffn : c.ffn_L) {
    experts.push_back(ffn.n_experts());
    topk.push_back(ffn.router.k);
    equal = equal && experts.back() == experts.front() && topk.back() == topk.front();
  }
  json["num_experts"] = equal ? experts.front() : experts;
  json["moe_topk"] = equal ? topk.front() : topk;
  json["intermediate_size"] = c.ffn_L.front().d_expert;
  json["attention_bias"] = c.attention.qkv_bias;
  return json;
}

bool can_express(const nn::TransformerConfig& c, std::string& reason) {
  return survives_round_trip(c, parse, write, reason);
}

TensorPlace place(const ParamSpec& spec, const nn::TransformerConfig& c, const StoredNames&) {
  const std::string attention = layer_prefix(spec.id) + "self_attn.";
  if (spec.id.role == Role::kQueryNorm) {
    return TensorPlace::whole(attention + "query_layernorm.weight", spec);
  }
  if (spec.id.role == Role::kKeyNorm) {
    return TensorPlace::whole(attention + "key_layernorm.weight", spec);
  }
  const FfnNames names = {.router = "gate.wg.weight", .shared = "shared_mlp."};
  return TensorPlace::whole(decoder_tensor_name(spec.id, c, names), spec);
}

const GgufForm kGguf = {
    .arch = "hunyuan-moe",
    .read = [](const GgufKeys&, nn::TransformerConfig& c) { c.attention.norm_after_rope = true; }};

}  // namespace

const Architecture kHunyuanV1Moe = {
    .model_type = "hunyuan_v1_moe",
    .class_name = "HunYuanMoEV1ForCausalLM",
    .description = "HunYuan-MoE: softmax top-k and an equal shared expert",
    .parse = parse,
    .write = write,
    .can_express = can_express,
    .place = place,
    .gguf = &kGguf,
};

}  // namespace conclave::models
