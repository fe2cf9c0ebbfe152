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

TensorPlace place(const ParamSpec& spec, const nn::TransformerConfig& c, const StoredNames&) {
  return TensorPlace::whole(decoder_tensor_name(spec.id, c), spec);
}

const GgufForm kGguf = {.arch = "qwen2"};

}  // namespace

const Architecture kQwen2 = {"qwen2",
                             "Qwen2ForCausalLM",
                             "Qwen2: dense decoder with biases of q, k and v",
                             parse,
                             write,
                             can_express,
                             place,
                             nullptr,
                             &kGguf};

}  // namespace conclave::models
