// Qwen2 (Qwen team 2024), dense: biases of q, k and v.
#include "models/qwen2.h"

#include "models/common.h"
#include "models/gguf_form.h"
#include "models/qwen_layers.h"

namespace conclave::models {
namespace {

constexpr std::string_view kKeys[] = {"intermediate_size", "use_sliding_window",
                                      "max_window_layers", "layer_types"};

nn::TransformerConfig parse(const io::JsonView& config) {
  refuse_unknown_keys(config, kKeys);
  nn::TransformerConfig c = parse_common(config);
  c.attention.qkv_bias = true;
  parse_qwen_windows(config, config.integer("max_window_layers", 0, 1 << 20, 28), c);
  c.ffn_L.assign(static_cast<std::size_t>(c.n_layers),
                 dense_ffn(positive(config, "intermediate_size")));
  return c;
}

nlohmann::json write(const nn::TransformerConfig& c) {
  nlohmann::json json = write_common(c);
  write_qwen_windows(c, json);
  json["intermediate_size"] = c.ffn_L.front().d_expert;
  return json;
}

bool can_express(const nn::TransformerConfig& c, std::string& reason) {
  return survives_round_trip(c, parse, write, reason);
}

const GgufForm kGguf = {.arch = "qwen2"};

}  // namespace

const Architecture kQwen2 = {
    .model_type = "qwen2",
    .class_name = "Qwen2ForCausalLM",
    .description = "Qwen2: dense decoder with biases of q, k and v",
    .parse = parse,
    .write = write,
    .can_express = can_express,
    .place = place_decoder,
    .gguf = &kGguf,
};

}  // namespace conclave::models
