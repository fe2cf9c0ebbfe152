// Qwen3 (Qwen team 2025), dense: RMSNorm of each head's queries and keys.
#include "models/qwen3.h"

#include "models/common.h"
#include "models/gguf_form.h"
#include "models/qwen_layers.h"

namespace conclave::models {
namespace {

constexpr std::string_view kKeys[] = {"intermediate_size", "use_sliding_window",
                                      "max_window_layers", "layer_types"};

nn::TransformerConfig parse(const io::JsonView& config) {
  refuse_unknown_keys(config, kKeys);
  nn::TransformerConfig c =
      parse_common(config, {.attention_bias = true, .out_bias = true, .head_dim = 128});
  c.attention.qk_norm = nn::QkNorm::kHead;
  parse_qwen_windows(config, config.integer("max_window_layers", 0, 1 << 20, 28), c);
  c.ffn_L.assign(static_cast<std::size_t>(c.n_layers),
                 dense_ffn(positive(config, "intermediate_size")));
  return c;
}

nlohmann::json write(const nn::TransformerConfig& c) {
  nlohmann::json json = write_common(c);
  write_qwen_windows(c, json);
  json["intermediate_size"] = c.ffn_L.front().d_expert;
  json["attention_bias"] = c.attention.qkv_bias;
  return json;
}

bool can_express(const nn::TransformerConfig& c, std::string& reason) {
  return survives_round_trip(c, parse, write, reason);
}

const GgufForm kGguf = {.arch = "qwen3"};

}  // namespace

const Architecture kQwen3 = {
    .model_type = "qwen3",
    .class_name = "Qwen3ForCausalLM",
    .description = "Qwen3: dense decoder with norms of each head's queries and keys",
    .parse = parse,
    .write = write,
    .can_express = can_express,
    .place = place_decoder,
    .gguf = &kGguf,
};

}  // namespace conclave::models
