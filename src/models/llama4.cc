// Llama 4, the text model (Meta 2025): the router's weight multiplies an expert's input, attention
// in chunks with rotary positions in most layers, whole contexts without positions in the others.
// A file is either the text model ("llama4_text") or that inside a model that also sees images
// ("llama4", whose other parts are left out).
#include "models/llama4.h"

#include <algorithm>

#include "models/common.h"
#include "models/gguf_form.h"

namespace conclave::models {
namespace {

constexpr std::string_view kTextKeys[] = {"intermediate_size",
                                          "intermediate_size_mlp",
                                          "num_local_experts",
                                          "num_experts_per_tok",
                                          "moe_layers",
                                          "interleave_moe_layer_step",
                                          "use_qk_norm",
                                          "no_rope_layers",
                                          "no_rope_layer_interval",
                                          "attention_chunk_size",
                                          "layer_types",
                                          "attn_temperature_tuning",
                                          "floor_scale",
                                          "attn_scale",
                                          "router_jitter_noise",
                                          "router_aux_loss_coef",
                                          "output_router_logits",
                                          "for_llm_compressor",
                                          "cache_implementation"};
constexpr std::string_view kWrapperKeys[] = {"text_config", "vision_config", "boi_token_index",
                                             "eoi_token_index", "image_token_index"};

// Published files say 4 where they mean true.
bool flag(const io::JsonView& config, const char* key, bool if_absent) {
  if (config.has(key) && config.value().at(key).is_number_integer()) {
    return config.integer(key, 0, 1 << 20) != 0;
  }
  return config.boolean(key, if_absent);
}

void parse_positions(const io::JsonView& config, nn::TransformerConfig& c) {
  const std::int64_t interval = config.integer("no_rope_layer_interval", 1, 1 << 20, 4);
  std::vector<std::int64_t> rope;
  if (config.has("no_rope_layers")) rope = config.integers("no_rope_layers", 0, 1);
  const auto layers = static_cast<std::size_t>(c.n_layers);
  if (!rope.empty() && rope.size() < layers) {
    config.fail_at("no_rope_layers",
                   fmt::format("found {} entries for {} layers", rope.size(), layers));
  }
  std::vector<std::string> types;
  if (config.has("layer_types")) types = config.strings("layer_types");
  if (!types.empty() && types.size() != layers) {
    config.fail_at("layer_types",
                   fmt::format("found {} entries for {} layers", types.size(), layers));
  }
  const int chunk = positive(config, "attention_chunk_size", 8192);
  c.attention_L.resize(layers);
  for (std::size_t layer = 0; layer < layers; ++layer) {
    nn::LayerAttention& attention = c.attention_L[layer];
    attention.rope =
        rope.empty() ? (static_cast<std::int64_t>(layer) + 1) % interval != 0 : rope[layer] != 0;
    bool chunked = attention.rope;
    if (!types.empty()) {
      chunked = types[layer] == "chunked_attention";
      if (!chunked && types[layer] != "full_attention") {
        fail(ErrorKind::kUnsupported, "{}: layer_types: '{}' is not supported", config.file_name(),
             types[layer].substr(0, 64));
      }
    }
    attention.chunk = chunked ? chunk : 0;
  }
}

void parse_layers(const io::JsonView& config, nn::TransformerConfig& c) {
  moe::LayerConfig routed =
      routed_ffn(config, "sigmoid_bias", "num_local_experts", 16, "num_experts_per_tok", 1,
                 positive(config, "intermediate_size", 8192));
  routed.router.renormalize = false;
  routed.weight_inputs = true;
  routed.d_shared = routed.d_expert;
  const moe::LayerConfig dense = dense_ffn(positive(config, "intermediate_size_mlp", 16384));
  const std::int64_t step = config.integer("interleave_moe_layer_step", 1, 1 << 20, 1);
  std::vector<std::int64_t> listed;
  if (config.has("moe_layers")) listed = config.integers("moe_layers", 0, 1 << 20);
  for (int layer = 0; layer < c.n_layers; ++layer) {
    const bool is_routed = config.has("moe_layers")
                               ? std::find(listed.begin(), listed.end(), layer) != listed.end()
                               : (layer + 1) % step == 0;
    c.ffn_L.push_back(is_routed ? routed : dense);
  }
}

nn::TransformerConfig parse_text(const io::JsonView& config) {
  refuse_unknown_keys(config, kTextKeys);
  nn::TransformerConfig c =
      parse_common(config, {.norm_eps = 1e-5, .rope_theta = 500000, .head_dim = 128});
  if (c.rope.scaling.kind != nn::RopeScalingKind::kNone &&
      c.rope.scaling.kind != nn::RopeScalingKind::kWavelength) {
    fail(ErrorKind::kUnsupported, "{}: rope_scaling: only 'llama3' is supported",
         config.file_name());
  }
  c.rope.stored_in_pairs = true;
  if (flag(config, "use_qk_norm", true)) {
    c.attention.qk_norm = nn::QkNorm::kUnit;
    c.attention.norm_after_rope = true;
  }
  if (flag(config, "attn_temperature_tuning", true)) {
    c.attention.temperature_scale = config.number("attn_scale", 0, 1e6, 0.1);
    c.attention.temperature_floor = config.integer("floor_scale", 1, 1 << 24, 8192);
  }
  parse_positions(config, c);
  parse_layers(config, c);
  return c;
}

nlohmann::json write_text(const nn::TransformerConfig& c) {
  nlohmann::json json = write_common(c);
  nlohmann::json rope = nlohmann::json::array(), types = nlohmann::json::array();
  nlohmann::json routed_layers = nlohmann::json::array();
  moe::LayerConfig routed;
  int dense_width = 1, chunk = 1;
  for (int layer = 0; layer < c.n_layers; ++layer) {
    const nn::LayerAttention attention = c.attention_at(layer);
    rope.push_back(attention.rope ? 1 : 0);
    types.push_back(attention.chunk > 0 ? "chunked_attention" : "full_attention");
    chunk = std::max(chunk, attention.chunk);
    const moe::LayerConfig& ffn = c.ffn_L[static_cast<std::size_t>(layer)];
    if (ffn.dense()) {
      dense_width = ffn.d_expert;
    } else {
      routed_layers.push_back(layer);
      routed = ffn;
    }
  }
  const nn::AttentionConfig& a = c.attention;
  json["no_rope_layers"] = rope;
  json["layer_types"] = types;
  json["attention_chunk_size"] = chunk;
  json["moe_layers"] = routed_layers;
  json["intermediate_size"] = routed.d_expert;
  json["intermediate_size_mlp"] = dense_width;
  json["num_local_experts"] = routed.n_experts();
  json["num_experts_per_tok"] = routed.router.k;
  json["use_qk_norm"] = a.qk_norm == nn::QkNorm::kUnit;
  json["attn_temperature_tuning"] = a.temperature_scale != 0;
  json["attn_scale"] = a.temperature_scale;
  json["floor_scale"] = std::max<std::int64_t>(1, a.temperature_floor);
  json["model_type"] = "llama4_text";
  return json;
}

bool can_express_text(const nn::TransformerConfig& c, std::string& reason) {
  return survives_round_trip(c, parse_text, write_text, reason);
}

// Elements of a matrix stored transposed, [E, in, out].
TensorPlace transposed(const std::string& name, std::int64_t experts, std::int64_t in,
                       std::int64_t out, std::int64_t expert, std::int64_t first_column) {
  TensorPlace place = TensorPlace::rows(name, {experts, in, out}, expert * in);
  place.offset += first_column;
  place.row_stride = 1;
  place.col_stride = out;
  return place;
}

TensorPlace place_text(const ParamSpec& spec, const nn::TransformerConfig& c, const StoredNames&) {
  const ParamId& id = spec.id;
  if (id.role == Role::kQuery || id.role == Role::kKey) {
    TensorPlace place = TensorPlace::whole(common_tensor_name(id), spec);
    place.order = halves_from_pairs(c.head_dim, c.head_dim);
    return place;
  }
  const std::string common = common_tensor_name(id);
  if (!common.empty()) return TensorPlace::whole(common, spec);
  const moe::LayerConfig& ffn = c.ffn_L[static_cast<std::size_t>(id.layer)];
  const bool expert =
      id.role == Role::kExpertGate || id.role == Role::kExpertUp || id.role == Role::kExpertDown;
  if (!expert || ffn.dense()) {
    const FfnNames names = {
        .block = "feed_forward.", .router = "router.weight", .shared = "shared_expert."};
    return TensorPlace::whole(ffn_tensor_name(id, c, names), spec);
  }
  const std::string experts = layer_prefix(id) + "feed_forward.experts.";
  const std::int64_t E = ffn.n_experts(), F = ffn.d_expert, D = c.d_model;
  if (id.role == Role::kExpertDown) return transposed(experts + "down_proj", E, F, D, id.expert, 0);
  return transposed(experts + "gate_up_proj", E, D, 2 * F, id.expert,
                    id.role == Role::kExpertUp ? F : 0);
}

nn::TransformerConfig parse_wrapper(const io::JsonView& config) {
  refuse_unknown_keys(config, kWrapperKeys);
  nn::TransformerConfig c = parse_text(config.object("text_config"));
  if (config.boolean("tie_word_embeddings", c.tie_embeddings) != c.tie_embeddings) {
    config.fail_at("tie_word_embeddings", "differs from the one in text_config");
  }
  return c;
}

nlohmann::json write_wrapper(const nn::TransformerConfig& c) {
  return {{"text_config", write_text(c)}, {"tie_word_embeddings", c.tie_embeddings}};
}

bool can_express_wrapper(const nn::TransformerConfig&, std::string& reason) {
  reason = "a model without images is written as llama4_text";
  return false;
}

TensorPlace place_wrapper(const ParamSpec& spec, const nn::TransformerConfig& c,
                          const StoredNames& names) {
  TensorPlace place = place_text(spec, c, names);
  place.name = "language_model." + place.name;
  return place;
}

bool ignores_wrapper(const std::string& name, const nn::TransformerConfig&) {
  return name.starts_with("vision_model.") || name.starts_with("multi_modal_projector.");
}

const GgufForm kGguf = {
    .arch = "llama4",
    .pairs = true,
    .router =
        [] {
          moe::RouterConfig router = moe::default_router_config("sigmoid_bias");
          router.renormalize = false;
          return router;
        },
    .read =
        [](const GgufKeys& keys, nn::TransformerConfig& c) {
          // What other writers leave to the program.
          c.attention.norm_after_rope = true;
          c.attention_L.resize(static_cast<std::size_t>(c.n_layers));
          for (std::size_t layer = 0; layer < c.attention_L.size(); ++layer) {
            const bool rotates = (layer + 1) % 4 != 0;
            c.attention_L[layer] = {.chunk = rotates ? 8192 : 0, .rope = rotates};
          }
          if (!keys.has("attention.qk_unit_norm")) {  // not written by us
            const bool normed = keys.integer("expert_count", 0, moe::kMaxExperts, 0) != 128;
            c.attention.qk_norm = normed ? nn::QkNorm::kUnit : nn::QkNorm::kNone;
            c.attention.temperature_scale = 0.1;
            c.attention.temperature_floor = 8192;
          }
          for (moe::LayerConfig& ffn : c.ffn_L) ffn.weight_inputs = !ffn.dense();
        },
    .write =
        [](const nn::TransformerConfig& c, io::GgufMetadata& metadata) {
          metadata.set("llama4.attention.qk_unit_norm", c.attention.qk_norm == nn::QkNorm::kUnit);
          std::uint32_t step = 1;
          while (step <= c.ffn_L.size() && c.ffn_L[step - 1].dense()) ++step;
          metadata.set("llama4.interleave_moe_layer_step", step);
        }};

}  // namespace

const Architecture kLlama4Text = {
    .model_type = "llama4_text",
    .class_name = "Llama4ForCausalLM",
    .description = "Llama 4 (text): sigmoid weights on expert inputs, chunks",
    .parse = parse_text,
    .write = write_text,
    .can_express = can_express_text,
    .place = place_text,
    .gguf = &kGguf,
};

const Architecture kLlama4 = {
    .model_type = "llama4",
    .class_name = "Llama4ForConditionalGeneration",
    .description = "Llama 4: the text model inside one that sees images",
    .parse = parse_wrapper,
    .write = write_wrapper,
    .can_express = can_express_wrapper,
    .place = place_wrapper,
    .ignores = ignores_wrapper,
    .gguf = &kGguf,
};

}  // namespace conclave::models
