#include "models/common.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

namespace conclave::models {
namespace {

constexpr std::int64_t kMax = 1 << 24;

constexpr std::string_view kCommonKeys[] = {
    "model_type",
    "architectures",
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "rms_norm_eps",
    "max_position_embeddings",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "tie_word_embeddings",
    "hidden_act",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "attention_bias",
    "sliding_window",
    "partial_rotary_factor",
    "original_max_position_embeddings",
};

// Keys that say how a model was made, stored or generated from, not what it computes.
constexpr std::string_view kHarmlessKeys[] = {
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "add_cross_attention",
    "attention_dropout",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "label2id",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "pruned_heads",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "use_bfloat16",
    "use_cache",
};

// The first of a token id or a list of them; -1 where there is none.
int token_id(const io::JsonView& config, std::string_view key) {
  if (!config.has(key)) return -1;
  if (config.value().at(std::string(key)).is_array()) {
    const auto ids = config.integers(key, 0, kMax);
    return ids.empty() ? -1 : static_cast<int>(ids.front());
  }
  return static_cast<int>(config.integer(key, -1, kMax));
}

void refuse_other_values(const io::JsonView& config) {
  const std::string act = config.string("hidden_act", "silu");
  if (act != "silu") {
    config.fail_at("hidden_act", fmt::format("found '{}', only 'silu' is supported", act));
  }
  if (config.boolean("is_encoder_decoder", false)) {
    config.fail_at("is_encoder_decoder", "encoder-decoder models are not supported");
  }
}

// The object that describes the rotary angles, under either of its names; nothing: plain angles.
std::optional<io::JsonView> rope_object(const io::JsonView& config, std::string_view& key) {
  for (const char* name : {"rope_scaling", "rope_parameters"}) {
    key = name;
    if (config.has(name)) return config.object(name);
  }
  return {};
}

// GGUF files keep numbers in f32: rounded here too, both forms of a model agree in every bit.
double single(double x) { return static_cast<double>(static_cast<float>(x)); }

std::vector<double> pair_factors(const io::JsonView& rope, const char* key, int rotary_dim) {
  std::vector<double> factors = rope.numbers(key);
  const auto expected = static_cast<std::size_t>(rotary_dim / 2);
  if (factors.size() != expected) {
    rope.fail_at(key, fmt::format("found {} factors, expected {}: one for every rotary pair",
                                  factors.size(), expected));
  }
  for (const double f : factors) {
    if (!(f > 0 && f < 1e9)) rope.fail_at(key, fmt::format("found {}, expected more than 0", f));
  }
  return factors;
}

void parse_yarn(const io::JsonView& rope, nn::RopeScaling& s) {
  s.kind = nn::RopeScalingKind::kYarn;
  s.beta_fast = rope.number("beta_fast", 1e-3, 1e6, 32);
  s.beta_slow = rope.number("beta_slow", 1e-3, 1e6, 1);
  s.truncate = rope.boolean("truncate", true);
  const double mscale = rope.number("mscale", -1e3, 1e3, 0);
  const double all_dim = rope.number("mscale_all_dim", -1e3, 1e3, 0);
  const bool both = mscale != 0 && all_dim != 0;
  const double magnitude =
      both ? yarn_magnitude(s.factor, mscale) / yarn_magnitude(s.factor, all_dim)
           : yarn_magnitude(s.factor);
  s.magnitude = s.long_magnitude = rope.number("attention_factor", 1e-6, 1e6, magnitude);
}

void parse_longrope(const io::JsonView& config, const io::JsonView& rope, int rotary_dim,
                    std::int64_t max_positions, nn::RopeScaling& s) {
  s.kind = nn::RopeScalingKind::kLongRope;
  s.short_factors = pair_factors(rope, "short_factor", rotary_dim);
  s.long_factors = pair_factors(rope, "long_factor", rotary_dim);
  // Phi keeps the context before stretching beside the object; then it also decides the factor.
  const std::int64_t original =
      config.integer("original_max_position_embeddings", 2, kMax, s.original_positions);
  const bool beside = config.has("original_max_position_embeddings");
  s.original_positions = original;
  const double factor = beside || !rope.has("factor")
                            ? static_cast<double>(max_positions) / static_cast<double>(original)
                            : s.factor;
  const double magnitude =
      factor <= 1 ? 1 : std::sqrt(1 + std::log(factor) / std::log(static_cast<double>(original)));
  s.factor = factor;
  s.magnitude = s.long_magnitude = rope.number("attention_factor", 1e-6, 1e6, magnitude);
  s.magnitude = rope.number("short_mscale", 1e-6, 1e6, s.magnitude);
  s.long_magnitude = rope.number("long_mscale", 1e-6, 1e6, s.long_magnitude);
}

}  // namespace

double yarn_magnitude(double factor, double mscale) {
  return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1;
}

void parse_rope(const io::JsonView& config, double default_theta, int rotary_dim,
                nn::TransformerConfig& c) {
  c.rope.theta = single(config.number("rope_theta", 1e-3, 1e12, default_theta));
  std::string_view key;
  const std::optional<io::JsonView> found = rope_object(config, key);
  if (!found) return;
  const io::JsonView& rope = *found;
  c.rope.theta = single(rope.number("rope_theta", 1e-3, 1e12, c.rope.theta));
  const std::string type = rope.string("rope_type", rope.string("type", "default"));
  if (type == "default" || type == "dynamic") return;
  nn::RopeScaling& s = c.rope.scaling;
  s.factor = rope.number("factor", 1e-3, 1e6, 1);
  s.original_positions = rope.integer("original_max_position_embeddings", 2, kMax, c.max_positions);
  if (type == "linear") {
    s.kind = nn::RopeScalingKind::kLinear;
  } else if (type == "yarn") {
    parse_yarn(rope, s);
  } else if (type == "llama3") {
    s.kind = nn::RopeScalingKind::kWavelength;
    s.low_freq_factor = rope.number("low_freq_factor", 1e-6, 1e6);
    s.high_freq_factor = rope.number("high_freq_factor", 1e-6, 1e6);
  } else if (type == "longrope" || type == "su") {
    parse_longrope(config, rope, rotary_dim, c.max_positions, s);
  } else {
    config.fail_at(key, fmt::format("rotary scaling '{}' is not supported", type));
  }
}

nlohmann::json write_rope_scaling(const nn::TransformerConfig& c) {
  const nn::RopeScaling& s = c.rope.scaling;
  switch (s.kind) {
    case nn::RopeScalingKind::kNone:
      return nullptr;
    case nn::RopeScalingKind::kFactors:  // no type of the reference library says this
      fail(ErrorKind::kUnsupported,
           "the file divides rotary frequencies by factors of its own, which config.json cannot "
           "say");
    case nn::RopeScalingKind::kLinear:
      return {{"rope_type", "linear"}, {"factor", s.factor}};
    case nn::RopeScalingKind::kYarn:
      return {{"rope_type", "yarn"},
              {"factor", s.factor},
              {"original_max_position_embeddings", s.original_positions},
              {"beta_fast", s.beta_fast},
              {"beta_slow", s.beta_slow},
              {"truncate", s.truncate},
              {"attention_factor", s.magnitude}};
    case nn::RopeScalingKind::kWavelength:
      return {{"rope_type", "llama3"},
              {"factor", s.factor},
              {"original_max_position_embeddings", s.original_positions},
              {"low_freq_factor", s.low_freq_factor},
              {"high_freq_factor", s.high_freq_factor}};
    case nn::RopeScalingKind::kLongRope:
      return {{"rope_type", "longrope"},
              {"original_max_position_embeddings", s.original_positions},
              {"factor", s.factor},
              {"short_factor", s.short_factors},
              {"long_factor", s.long_factors},
              {"attention_factor", s.magnitude},
              {"short_mscale", s.magnitude},
              {"long_mscale", s.long_magnitude}};
  }
  return nullptr;
}

void parse_layer_types(const io::JsonView& config, int window,
                       const std::function<bool(int layer)>& sliding, nn::TransformerConfig& c) {
  std::vector<std::string> types;
  if (config.has("layer_types")) {
    types = config.strings("layer_types");
    if (static_cast<int>(types.size()) != c.n_layers) {
      config.fail_at("layer_types",
                     fmt::format("found {} entries for {} layers", types.size(), c.n_layers));
    }
  }
  c.attention_L.resize(static_cast<std::size_t>(c.n_layers));
  for (int layer = 0; layer < c.n_layers; ++layer) {
    const auto l = static_cast<std::size_t>(layer);
    bool slides = types.empty() && sliding(layer);
    if (!types.empty()) {
      slides = types[l] == "sliding_attention";
      if (!slides && types[l] != "full_attention") {
        config.fail_at("layer_types", fmt::format("'{}' is not supported", types[l]));
      }
    }
    c.attention_L[l].window = slides ? window : 0;
  }
}

nlohmann::json write_layer_types(const nn::TransformerConfig& c) {
  nlohmann::json types = nlohmann::json::array();
  for (int layer = 0; layer < c.n_layers; ++layer) {
    types.push_back(c.attention_at(layer).window > 0 ? "sliding_attention" : "full_attention");
  }
  return types;
}

moe::LayerConfig dense_ffn(int width) {
  moe::LayerConfig ffn;
  ffn.router.n_experts = 1;
  ffn.router.k = 1;
  ffn.d_expert = width;
  return ffn;
}

int positive(const io::JsonView& config, std::string_view key, std::int64_t if_absent) {
  return static_cast<int>(if_absent > 0 ? config.integer(key, 1, 1 << 20, if_absent)
                                        : config.integer(key, 1, 1 << 20));
}

bool plain_decoder(const nn::TransformerConfig& c, std::string& reason) {
  const nn::AttentionConfig& a = c.attention;
  if (c.rope.rotary_dim != 0 && c.rope.rotary_dim != c.head_dim) {
    reason = "rotary positions on part of a head";
  } else if (c.rope.scaling.kind != nn::RopeScalingKind::kNone) {
    reason = "scaled rotary positions";
  } else if (c.norm != nn::NormKind::kRms || c.norm_bias || c.head_bias || a.qkv_bias ||
             a.out_bias) {
    reason = "LayerNorm or biases";
  } else if (a.qk_norm != nn::QkNorm::kNone || a.clip_qkv != 0 || a.sinks || a.scale != 0 ||
             a.temperature_scale != 0 || a.latent.enabled()) {
    reason = "attention that is not Llama's";
  } else if (c.embedding_scale != 1 || c.residual_scale != 1 || c.logit_scale != 1) {
    reason = "scaled embeddings, residuals or logits";
  }
  for (const nn::LayerAttention& layer : c.attention_L) {
    if (layer.chunk != 0 || !layer.rope) reason = "attention in chunks or without positions";
  }
  return reason.empty();
}

bool plain_experts(const moe::LayerConfig& ffn) {
  return !ffn.router_bias && !ffn.linear_bias && !ffn.shared_gate && !ffn.weight_inputs &&
         ffn.activation == moe::Activation::kSwiGlu;
}

nn::TransformerConfig parse_common(const io::JsonView& config, const CommonOptions& options) {
  refuse_other_values(config);
  nn::TransformerConfig c;
  const auto size = [&](const char* key) { return static_cast<int>(config.integer(key, 1, kMax)); };
  c.vocab_size = size("vocab_size");
  c.d_model = size("hidden_size");
  c.n_layers = static_cast<int>(config.integer("num_hidden_layers", 1, 4096));
  c.n_heads = static_cast<int>(config.integer("num_attention_heads", 1, 65536));
  c.n_kv_heads = static_cast<int>(config.integer("num_key_value_heads", 1, 65536, c.n_heads));
  const int even_share = std::max(2, c.d_model / std::max(1, c.n_heads));
  c.head_dim = static_cast<int>(
      config.integer("head_dim", 2, 4096, options.head_dim > 0 ? options.head_dim : even_share));
  c.norm_eps = static_cast<float>(config.number("rms_norm_eps", 1e-20, 1.0, options.norm_eps));
  c.max_positions = config.integer("max_position_embeddings", 1, kMax, 2048);
  double part = config.number("partial_rotary_factor", 1e-3, 1.0, options.partial_rotary);
  if (config.has("rope_parameters")) {
    part = config.object("rope_parameters").number("partial_rotary_factor", 1e-3, 1.0, part);
  }
  c.rope.rotary_dim = part == 1.0 ? 0 : static_cast<int>(c.head_dim * part);
  parse_rope(config, options.rope_theta, c.rope.rotary_dim > 0 ? c.rope.rotary_dim : c.head_dim, c);
  if (config.boolean("attention_bias", false)) {
    if (!options.attention_bias) {
      config.fail_at("attention_bias", "this architecture has no biases in attention");
    }
    c.attention.qkv_bias = true;
    c.attention.out_bias = options.out_bias;
  }
  if (options.sliding_window) {
    const auto window = static_cast<int>(config.integer("sliding_window", 0, kMax, 0));
    if (window > 0) {
      c.attention_L.assign(static_cast<std::size_t>(c.n_layers), {});
      for (nn::LayerAttention& layer : c.attention_L) layer.window = window;
    }
  }
  c.tie_embeddings = config.boolean("tie_word_embeddings", options.tie_embeddings);
  c.bos_id = token_id(config, "bos_token_id");
  c.eos_id = token_id(config, "eos_token_id");
  c.pad_id = token_id(config, "pad_token_id");
  return c;
}

nlohmann::json write_common(const nn::TransformerConfig& c) {
  nlohmann::json json = {
      {"vocab_size", c.vocab_size},
      {"hidden_size", c.d_model},
      {"num_hidden_layers", c.n_layers},
      {"num_attention_heads", c.n_heads},
      {"num_key_value_heads", c.n_kv_heads},
      {"head_dim", c.head_dim},
      {"rms_norm_eps", static_cast<double>(c.norm_eps)},
      {"max_position_embeddings", c.max_positions},
      {"rope_theta", c.rope.theta},
      {"rope_scaling", write_rope_scaling(c)},
      {"tie_word_embeddings", c.tie_embeddings},
      {"hidden_act", "silu"},
      {"use_cache", true},
  };
  if (c.rope.scaling.kind == nn::RopeScalingKind::kLongRope) {  // where its readers look for it
    json["original_max_position_embeddings"] = c.rope.scaling.original_positions;
  }
  const auto token = [&](const char* key, int id) {
    json[key] = id >= 0 ? nlohmann::json(id) : nlohmann::json(nullptr);
  };
  token("bos_token_id", c.bos_id);
  token("eos_token_id", c.eos_id);
  token("pad_token_id", c.pad_id);
  return json;
}

void refuse_unknown_keys(const io::JsonView& config, std::span<const std::string_view> keys) {
  const auto in = [](std::span<const std::string_view> list, const std::string& key) {
    return std::find(list.begin(), list.end(), key) != list.end();
  };
  for (const std::string& key : config.keys()) {
    if (in(kCommonKeys, key) || in(kHarmlessKeys, key) || in(keys, key)) continue;
    if (!config.has(key)) continue;  // null: the reference library's "not set"
    fail(ErrorKind::kUnsupported,
         "{}: key '{}' is not known for this architecture and may change what the model computes",
         config.file_name(), key);
  }
}

std::string layer_prefix(const ParamId& id) { return fmt::format("model.layers.{}.", id.layer); }

std::string common_tensor_name(const ParamId& id) {
  switch (id.role) {
    case Role::kEmbedding:
      return "model.embed_tokens.weight";
    case Role::kFinalNorm:
      return "model.norm.weight";
    case Role::kHead:
      return "lm_head.weight";
    case Role::kAttnNorm:
      return layer_prefix(id) + "input_layernorm.weight";
    case Role::kFfnNorm:
      return layer_prefix(id) + "post_attention_layernorm.weight";
    case Role::kQuery:
      return layer_prefix(id) + "self_attn.q_proj.weight";
    case Role::kKey:
      return layer_prefix(id) + "self_attn.k_proj.weight";
    case Role::kValue:
      return layer_prefix(id) + "self_attn.v_proj.weight";
    case Role::kAttnOut:
      return layer_prefix(id) + "self_attn.o_proj.weight";
    case Role::kQueryBias:
      return layer_prefix(id) + "self_attn.q_proj.bias";
    case Role::kKeyBias:
      return layer_prefix(id) + "self_attn.k_proj.bias";
    case Role::kValueBias:
      return layer_prefix(id) + "self_attn.v_proj.bias";
    case Role::kAttnOutBias:
      return layer_prefix(id) + "self_attn.o_proj.bias";
    case Role::kQueryNorm:
      return layer_prefix(id) + "self_attn.q_norm.weight";
    case Role::kKeyNorm:
      return layer_prefix(id) + "self_attn.k_norm.weight";
    case Role::kSinks:
      return layer_prefix(id) + "self_attn.sinks";
    case Role::kAttnNormBias:
      return layer_prefix(id) + "input_layernorm.bias";
    case Role::kFfnNormBias:
      return layer_prefix(id) + "post_attention_layernorm.bias";
    case Role::kFinalNormBias:
      return "model.norm.bias";
    case Role::kHeadBias:
      return "lm_head.bias";
    default:
      return "";
  }
}

std::string projection_name(const std::string& prefix, Role role) {
  switch (role) {
    case Role::kExpertGate:
    case Role::kSharedGate:
      return prefix + "gate_proj.weight";
    case Role::kExpertUp:
    case Role::kSharedUp:
      return prefix + "up_proj.weight";
    case Role::kExpertDown:
    case Role::kSharedDown:
      return prefix + "down_proj.weight";
    case Role::kExpertGateBias:
    case Role::kSharedGateBias:
      return prefix + "gate_proj.bias";
    case Role::kExpertUpBias:
    case Role::kSharedUpBias:
      return prefix + "up_proj.bias";
    case Role::kExpertDownBias:
    case Role::kSharedDownBias:
      return prefix + "down_proj.bias";
    default:
      return "";
  }
}

}  // namespace conclave::models
