#include "models/common.h"

#include <algorithm>
#include <array>

namespace conclave::models {
namespace {

constexpr std::int64_t kMax = 1 << 24;

constexpr std::string_view kCommonKeys[] = {
    "model_type",          "architectures",
    "vocab_size",          "hidden_size",
    "num_hidden_layers",   "num_attention_heads",
    "num_key_value_heads", "head_dim",
    "rms_norm_eps",        "max_position_embeddings",
    "rope_theta",          "rope_scaling",
    "rope_parameters",     "tie_word_embeddings",
    "hidden_act",          "bos_token_id",
    "eos_token_id",        "pad_token_id",
    "attention_bias",      "sliding_window",
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

// The base of the rotary angles: "rope_theta", or since transformers 5 within "rope_parameters".
double rope_theta(const io::JsonView& config) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!config.has(key)) continue;
    const io::JsonView rope = config.object(key);
    const std::string type = rope.string("rope_type", rope.string("type", "default"));
    if (type != "default") {
      config.fail_at(key, fmt::format("rotary scaling '{}' is not supported", type));
    }
    if (rope.has("rope_theta")) return rope.number("rope_theta", 1e-3, 1e12);
  }
  return config.number("rope_theta", 1e-3, 1e12, 10000.0);
}

void refuse_other_values(const io::JsonView& config) {
  const std::string act = config.string("hidden_act", "silu");
  if (act != "silu") {
    config.fail_at("hidden_act", fmt::format("found '{}', only 'silu' is supported", act));
  }
  if (config.boolean("attention_bias", false)) {
    config.fail_at("attention_bias", "biases in attention are not supported");
  }
  if (config.boolean("is_encoder_decoder", false)) {
    config.fail_at("is_encoder_decoder", "encoder-decoder models are not supported");
  }
}

}  // namespace

nn::TransformerConfig parse_common(const io::JsonView& config) {
  refuse_other_values(config);
  nn::TransformerConfig c;
  const auto size = [&](const char* key) { return static_cast<int>(config.integer(key, 1, kMax)); };
  c.vocab_size = size("vocab_size");
  c.d_model = size("hidden_size");
  c.n_layers = static_cast<int>(config.integer("num_hidden_layers", 1, 4096));
  c.n_heads = static_cast<int>(config.integer("num_attention_heads", 1, 65536));
  c.n_kv_heads = static_cast<int>(config.integer("num_key_value_heads", 1, 65536, c.n_heads));
  c.head_dim = static_cast<int>(
      config.integer("head_dim", 2, 4096, std::max(2, c.d_model / std::max(1, c.n_heads))));
  c.norm_eps = static_cast<float>(config.number("rms_norm_eps", 1e-20, 1.0, 1e-6));
  c.rope.theta = rope_theta(config);
  c.max_positions = config.integer("max_position_embeddings", 1, kMax, 2048);
  c.window = static_cast<int>(config.integer("sliding_window", 0, kMax, 0));
  c.tie_embeddings = config.boolean("tie_word_embeddings", false);
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
      {"tie_word_embeddings", c.tie_embeddings},
      {"hidden_act", "silu"},
      {"use_cache", true},
  };
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
    default:
      return "";
  }
}

}  // namespace conclave::models
