#include "models/llama.h"

#include "models/common.h"
#include "models/gguf_form.h"

namespace conclave::models {
namespace {

constexpr std::string_view kKeys[] = {"intermediate_size", "mlp_bias"};

nn::TransformerConfig parse(const io::JsonView& config) {
  refuse_unknown_keys(config, kKeys);
  nn::TransformerConfig c = parse_common(config, {.attention_bias = true, .out_bias = true});
  moe::LayerConfig ffn;
  ffn.router.n_experts = 1;
  ffn.router.k = 1;
  ffn.linear_bias = config.boolean("mlp_bias", false);
  ffn.d_expert = static_cast<int>(config.integer("intermediate_size", 1, 1 << 20));
  c.ffn_L.assign(static_cast<std::size_t>(c.n_layers), ffn);
  return c;
}

nlohmann::json write(const nn::TransformerConfig& c) {
  nlohmann::json json = write_common(c);
  json["intermediate_size"] = c.ffn_L.front().d_expert;
  json["attention_bias"] = c.attention.qkv_bias;
  json["mlp_bias"] = c.ffn_L.front().linear_bias;
  return json;
}

bool can_express(const nn::TransformerConfig& c, std::string& reason) {
  return survives_round_trip(c, parse, write, reason);
}

const GgufForm kGguf = {.arch = "llama", .pairs = true, .accepts = [](const GgufKeys& keys) {
                          return keys.integer("expert_count", 0, moe::kMaxExperts, 0) == 0;
                        }};

}  // namespace

const Architecture kLlama = {
    .model_type = "llama",
    .class_name = "LlamaForCausalLM",
    .description = "Llama: dense decoder with one SwiGLU FFN in every layer",
    .parse = parse,
    .write = write,
    .can_express = can_express,
    .place = place_decoder,
    .gguf = &kGguf,
};

}  // namespace conclave::models
