// gpt-oss (OpenAI 2025): attention sinks, sliding windows in every other layer, biases everywhere,
// a clamped gated unit, experts stored as [E, in, out] with gate and up columns interleaved, or in
// MXFP4 as [E, out, in / 32].
#include "models/gpt_oss.h"

#include <algorithm>

#include "models/common.h"
#include "models/gguf_form.h"

namespace conclave::models {
namespace {

constexpr std::string_view kKeys[] = {
    "intermediate_size",    "num_local_experts",  "num_experts_per_tok",    "experts_per_token",
    "layer_types",          "swiglu_limit",       "initial_context_length", "router_aux_loss_coef",
    "output_router_logits", "quantization_config"};

constexpr double kSwigluLimit = 7;  // the reference implementation has it in its code

nn::TransformerConfig parse(const io::JsonView& config) {
  refuse_unknown_keys(config, kKeys);
  require_boolean(config, "attention_bias", true);
  require_number(config, "swiglu_limit", kSwigluLimit);
  check_quantization(config, "mxfp4");
  nn::TransformerConfig c = parse_common(config, {.attention_bias = true,
                                                  .out_bias = true,
                                                  .norm_eps = 1e-5,
                                                  .rope_theta = 150000,
                                                  .head_dim = 64});
  c.attention.qkv_bias = c.attention.out_bias = true;
  c.attention.sinks = true;
  const auto window = static_cast<int>(config.integer("sliding_window", 0, 1 << 24, 128));
  parse_layer_types(
      config, window, [](int layer) { return layer % 2 == 0; }, c);
  const bool alias = !config.has("num_experts_per_tok") && config.has("experts_per_token");
  moe::LayerConfig ffn = routed_ffn(config, "softmax_topk", "num_local_experts", 128,
                                    alias ? "experts_per_token" : "num_experts_per_tok", 4,
                                    positive(config, "intermediate_size"));
  ffn.router.renormalize = true;
  ffn.router_bias = ffn.linear_bias = true;
  ffn.activation = moe::Activation::kClampedSwiGlu;
  ffn.activation_limit = static_cast<float>(kSwigluLimit);
  c.ffn_L.assign(static_cast<std::size_t>(c.n_layers), ffn);
  return c;
}

nlohmann::json write(const nn::TransformerConfig& c) {
  nlohmann::json json = write_common(c);
  const moe::LayerConfig& ffn = c.ffn_L.front();
  int window = 0;
  for (int layer = 0; layer < c.n_layers; ++layer) {
    window = std::max(window, c.attention_at(layer).window);
  }
  json["attention_bias"] = true;
  json["sliding_window"] = window;
  json["layer_types"] = write_layer_types(c);
  json["intermediate_size"] = ffn.d_expert;
  json["num_local_experts"] = ffn.n_experts();
  json["num_experts_per_tok"] = ffn.router.k;
  json["swiglu_limit"] = static_cast<double>(ffn.activation_limit);
  return json;
}

bool can_express(const nn::TransformerConfig& c, std::string& reason) {
  return survives_round_trip(c, parse, write, reason);
}

// A part of "experts.gate_up_proj" or "experts.down_proj" and their biases.
TensorPlace place_expert(const ParamSpec& spec, const nn::TransformerConfig& c,
                         const StoredNames& names) {
  const moe::LayerConfig& ffn = c.ffn_L[static_cast<std::size_t>(spec.id.layer)];
  const std::int64_t E = ffn.n_experts(), F = ffn.d_expert, D = c.d_model, e = spec.id.expert;
  const std::string prefix = layer_prefix(spec.id) + "mlp.experts.";
  const Role role = spec.id.role;
  const bool bias =
      role == Role::kExpertGateBias || role == Role::kExpertUpBias || role == Role::kExpertDownBias;
  const bool down = role == Role::kExpertDown || role == Role::kExpertDownBias;
  const bool up = role == Role::kExpertUp || role == Role::kExpertUpBias;
  const std::string name = prefix + (down ? "down_proj" : "gate_up_proj");
  const std::int64_t out = down ? D : 2 * F, in = down ? F : D;
  const std::int64_t step = down ? 1 : 2;  // gate and up alternate
  TensorPlace place;
  if (bias) {
    place = TensorPlace::rows(name + "_bias", {E, out}, e);
    place.offset += up ? 1 : 0;
    place.col_stride = step;
  } else if (names.has(name + "_blocks")) {
    place = TensorPlace::rows(name, {E, out, in}, e * out + (up ? 1 : 0), step);
    place.mxfp4 = true;
  } else {
    place = TensorPlace::rows(name, {E, in, out}, e * in);
    place.offset += up ? 1 : 0;
    place.row_stride = step;
    place.col_stride = out;
  }
  return place;
}

TensorPlace place(const ParamSpec& spec, const nn::TransformerConfig& c, const StoredNames& names) {
  const std::string common = common_tensor_name(spec.id);
  if (!common.empty()) return TensorPlace::whole(common, spec);
  if (spec.id.role == Role::kRouter || spec.id.role == Role::kRouterBias) {
    const char* part = spec.id.role == Role::kRouter ? "weight" : "bias";
    return TensorPlace::whole(layer_prefix(spec.id) + "mlp.router." + part, spec);
  }
  return place_expert(spec, c, names);
}

const GgufForm kGguf = {.arch = "gpt-oss",
                        .name = [](Role role) -> const char* {
                          return role == Role::kFfnNorm ? "post_attention_norm.weight" : nullptr;
                        },
                        .read =
                            [](const GgufKeys& keys, nn::TransformerConfig& c) {
                              alternate_windows(c);
                              if (!keys.has("rope.scaling.yarn_truncate"))
                                c.rope.scaling.truncate = false;
                              for (moe::LayerConfig& ffn : c.ffn_L) {
                                ffn.activation = moe::Activation::kClampedSwiGlu;
                                ffn.activation_limit = static_cast<float>(kSwigluLimit);
                              }
                            }};

}  // namespace

const Architecture kGptOss = {
    .model_type = "gpt_oss",
    .class_name = "GptOssForCausalLM",
    .description = "gpt-oss: attention sinks, alternating windows, clamped SwiGLU",
    .parse = parse,
    .write = write,
    .can_express = can_express,
    .place = place,
    .gguf = &kGguf,
};

}  // namespace conclave::models
