#include "models/llama.h"

#include "models/common.h"
#include "models/gguf_form.h"

namespace conclave::models {
namespace {

constexpr std::string_view kKeys[] = {"intermediate_size", "mlp_bias"};

nn::TransformerConfig parse(const io::JsonView& config) {
  refuse_unknown_keys(config, kKeys);
  if (config.boolean("mlp_bias", false)) config.fail_at("mlp_bias", "biases are not supported");
  nn::TransformerConfig c = parse_common(config, {.attention_bias = true, .out_bias = true});
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
  json["attention_bias"] = c.attention.qkv_bias;
  json["mlp_bias"] = false;
  return json;
}

bool can_express(const nn::TransformerConfig& c, std::string& reason) {
  if (!plain_decoder(c, reason)) return false;
  bool plain = true;
  for (int layer = 0; layer < c.n_layers; ++layer) {
    plain = plain && c.attention_at(layer) == nn::LayerAttention{};
  }
  for (const moe::LayerConfig& ffn : c.ffn_L) {
    plain = plain && ffn.dense() && ffn.d_shared == 0 && plain_experts(ffn) &&
            ffn.d_expert == c.ffn_L.front().d_expert;
  }
  if (!plain) reason = "experts, windows or layers that differ";
  return plain;
}

std::string tensor_name(const ParamId& id) {
  std::string common = common_tensor_name(id);
  if (!common.empty()) return common;
  const char* part = id.role == Role::kExpertGate ? "gate"
                     : id.role == Role::kExpertUp ? "up"
                                                  : "down";
  return fmt::format("{}mlp.{}_proj.weight", layer_prefix(id), part);
}

TensorPlace place(const ParamSpec& spec, const nn::TransformerConfig&, const StoredNames&) {
  return TensorPlace::whole(tensor_name(spec.id), spec);
}

const GgufForm kGguf = {.arch = "llama", .pairs = true, .accepts = [](const GgufKeys& keys) {
                          return keys.integer("expert_count", 0, moe::kMaxExperts, 0) == 0;
                        }};

}  // namespace

const Architecture kLlama = {"llama",
                             "LlamaForCausalLM",
                             "Llama: dense decoder with one SwiGLU FFN in every layer",
                             parse,
                             write,
                             can_express,
                             place,
                             nullptr,
                             &kGguf};

}  // namespace conclave::models
