#include "models/llama.h"

#include "models/common.h"

namespace conclave::models {
namespace {

constexpr std::string_view kKeys[] = {"intermediate_size", "mlp_bias"};

nn::TransformerConfig parse(const io::JsonView& config) {
  refuse_unknown_keys(config, kKeys);
  if (config.boolean("mlp_bias", false)) config.fail_at("mlp_bias", "biases are not supported");
  nn::TransformerConfig c = parse_common(config);
  moe::LayerConfig ffn;
  ffn.router.n_experts = 1;
  ffn.router.k = 1;
  ffn.d_expert = static_cast<int>(config.integer("intermediate_size", 1, 1 << 20));
  c.ffn_L.assign(static_cast<std::size_t>(c.n_layers), ffn);
  return c;
}

nlohmann::json write(const nn::TransformerConfig& c) {
  nlohmann::json json = write_common(c);
  json["intermediate_size"] = c.ffn_L.front().d_expert;
  json["attention_bias"] = false;
  json["mlp_bias"] = false;
  return json;
}

bool can_express(const nn::TransformerConfig& c, std::string& reason) {
  const bool whole_heads = c.rope.rotary_dim == 0 || c.rope.rotary_dim == c.head_dim;
  bool plain = whole_heads && c.window == 0;
  for (const moe::LayerConfig& ffn : c.ffn_L) {
    plain = plain && ffn.dense() && ffn.d_shared == 0 && ffn.d_expert == c.ffn_L.front().d_expert;
  }
  if (!plain) reason = "experts, windows or layers that differ";
  return plain;
}

std::string tensor_name(const ParamId& id) {
  const std::string common = common_tensor_name(id);
  if (!common.empty()) return common;
  const char* part = id.role == Role::kExpertGate ? "gate"
                     : id.role == Role::kExpertUp ? "up"
                                                  : "down";
  return fmt::format("{}mlp.{}_proj.weight", layer_prefix(id), part);
}

}  // namespace

const Architecture kLlama = {"llama",
                             "LlamaForCausalLM",
                             "Llama: dense decoder with one SwiGLU FFN in every layer",
                             parse,
                             write,
                             can_express,
                             tensor_name};

}  // namespace conclave::models
