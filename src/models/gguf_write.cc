// From a recipe to the keys of a GGUF file: the inverse of gguf_read.cc.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "models/common.h"
#include "models/gguf_form.h"
#include "nn/rope.h"

namespace conclave::models {
namespace {

// Sets "ARCH.KEY".
class Keys {
 public:
  Keys(io::GgufMetadata& metadata, std::string arch)
      : metadata_(metadata), arch_(std::move(arch)) {}
  void integer(std::string_view name, std::int64_t value) {
    metadata_.set(key(name), static_cast<std::uint32_t>(value));
  }
  void integers(std::string_view name, std::span<const std::int32_t> values) {
    metadata_.set(key(name), io::GgufArray::of(values));
  }
  void number(std::string_view name, double value) {
    metadata_.set(key(name), static_cast<float>(value));
  }
  void boolean(std::string_view name, bool value) { metadata_.set(key(name), value); }
  void flags(std::string_view name, const std::vector<bool>& values) {
    io::GgufArray array;
    array.item = io::GgufKind::kBool;
    for (const bool value : values) array.numbers.push_back(value ? std::byte{1} : std::byte{0});
    metadata_.set(key(name), std::move(array));
  }
  void string(std::string_view name, std::string value) {
    metadata_.set(key(name), std::move(value));
  }

 private:
  std::string key(std::string_view name) const { return arch_ + "." + std::string(name); }
  io::GgufMetadata& metadata_;
  std::string arch_;
};

void write_attention(const nn::TransformerConfig& c, Keys& keys) {
  const nn::AttentionConfig& a = c.attention;
  const nn::LatentAttention& m = a.latent;
  keys.integer("attention.head_count", c.n_heads);
  if (m.enabled()) {
    keys.integer("attention.head_count_kv", 1);
    keys.integer("attention.kv_lora_rank", m.kv_rank);
    if (m.q_rank > 0) keys.integer("attention.q_lora_rank", m.q_rank);
    keys.integer("attention.key_length", m.kv_rank + m.rope_dim);
    keys.integer("attention.value_length", m.kv_rank);
    keys.integer("attention.key_length_mla", c.head_dim);
    keys.integer("attention.value_length_mla", m.value_dim);
    keys.integer("rope.dimension_count", m.rope_dim);
  } else {
    keys.integer("attention.head_count_kv", c.n_kv_heads);
    keys.integer("attention.key_length", c.head_dim);
    keys.integer("attention.value_length", c.head_dim);
    keys.integer("rope.dimension_count", c.rope.rotary_dim > 0 ? c.rope.rotary_dim : c.head_dim);
  }
  if (a.clip_qkv > 0) keys.number("attention.clamp_kqv", a.clip_qkv);
  if (a.scale > 0) keys.number("attention.scale", a.scale);
  int window = 0;
  for (const nn::LayerAttention& layer : c.attention_L) window = std::max(window, layer.window);
  if (window > 0) keys.integer("attention.sliding_window", window);
}

void write_rope(const nn::TransformerConfig& c, Keys& keys) {
  keys.number("rope.freq_base", c.rope.theta);
  const nn::RopeScaling& s = c.rope.scaling;
  if (s.kind == nn::RopeScalingKind::kNone || s.kind == nn::RopeScalingKind::kFactors) return;
  // Other programs divide all positions by "factor", whatever the type: those that mean something
  // else by it get a key of our own.
  const bool plain = s.kind == nn::RopeScalingKind::kLinear || s.kind == nn::RopeScalingKind::kYarn;
  keys.number(plain ? "rope.scaling.factor" : "rope.scaling.stretch", s.factor);
  if (s.original_positions > 0) {
    keys.integer("rope.scaling.original_context_length", s.original_positions);
  }
  switch (s.kind) {
    case nn::RopeScalingKind::kLinear:
      keys.string("rope.scaling.type", "linear");
      break;
    case nn::RopeScalingKind::kYarn:
      keys.string("rope.scaling.type", "yarn");
      keys.number("rope.scaling.yarn_beta_fast", s.beta_fast);
      keys.number("rope.scaling.yarn_beta_slow", s.beta_slow);
      keys.boolean("rope.scaling.yarn_truncate", s.truncate);
      keys.number("rope.scaling.attn_factor", s.magnitude / yarn_magnitude(s.factor));
      keys.number("rope.scaling.magnitude", s.magnitude);  // ours: the product without rounding
      break;
    case nn::RopeScalingKind::kLongRope:
      keys.string("rope.scaling.type", "longrope");
      keys.number("rope.scaling.attn_factor", s.magnitude);
      keys.number("rope.scaling.short_magnitude", s.magnitude);
      keys.number("rope.scaling.long_magnitude", s.long_magnitude);
      break;
    case nn::RopeScalingKind::kWavelength:
      keys.number("rope.scaling.low_freq_factor", s.low_freq_factor);
      keys.number("rope.scaling.high_freq_factor", s.high_freq_factor);
      break;
    default:
      break;
  }
}

// One number for all layers, or, where they differ, one for each: other programs know only the
// first.
void write_expert_counts(const nn::TransformerConfig& c, const moe::LayerConfig& sparse,
                         Keys& keys) {
  std::vector<std::int32_t> count_L, used_L;
  bool equal = true;
  for (const moe::LayerConfig& ffn : c.ffn_L) {
    count_L.push_back(ffn.dense() ? 0 : ffn.n_experts());
    used_L.push_back(ffn.dense() ? 0 : ffn.router.k);
    equal = equal && (ffn.dense() ||
                      (ffn.n_experts() == sparse.n_experts() && ffn.router.k == sparse.router.k));
  }
  if (equal) {
    keys.integer("expert_count", sparse.n_experts());
    keys.integer("expert_used_count", sparse.router.k);
  } else {
    keys.integers("expert_count", count_L);
    keys.integers("expert_used_count", used_L);
  }
}

void write_experts(const nn::TransformerConfig& c, Keys& keys) {
  int leading = 0, dense_width = 0;
  const moe::LayerConfig* sparse = nullptr;
  for (const moe::LayerConfig& ffn : c.ffn_L) {
    if (ffn.dense()) {
      dense_width = std::max(dense_width, ffn.d_expert);
      if (sparse == nullptr) ++leading;
    } else if (sparse == nullptr) {
      sparse = &ffn;
    }
  }
  keys.integer("feed_forward_length",
               dense_width > 0 || sparse == nullptr ? dense_width : sparse->d_expert);
  if (sparse == nullptr) return;
  const moe::RouterConfig& r = sparse->router;
  write_expert_counts(c, *sparse, keys);
  keys.integer("expert_feed_forward_length", sparse->d_expert);
  if (sparse->d_shared > 0) {
    keys.integer("expert_shared_feed_forward_length", sparse->d_shared);
    keys.integer("expert_shared_count", std::max(1, sparse->d_shared / sparse->d_expert));
  }
  keys.integer("leading_dense_block_count", leading);
  keys.integer("expert_gating_func", r.kind == "sigmoid_bias" ? 2 : 1);
  keys.boolean("expert_weights_norm", r.renormalize);
  if (r.scale != 1) keys.number("expert_weights_scale", r.scale);
  if (r.n_groups > 1) {
    keys.integer("expert_group_count", r.n_groups);
    keys.integer("expert_group_used_count", r.topk_groups);
  }
}

// Options that no usual key has; other programs pass over them.
void write_own_keys(const nn::TransformerConfig& c, Keys& keys) {
  std::vector<bool> slides, rotates, chunks;
  int chunk = 0;
  for (const nn::LayerAttention& layer : c.attention_L) {
    slides.push_back(layer.window > 0);
    rotates.push_back(layer.rope);
    chunks.push_back(layer.chunk > 0);
    chunk = std::max(chunk, layer.chunk);
  }
  const auto any = [](const std::vector<bool>& v, bool value) {
    return std::find(v.begin(), v.end(), value) != v.end();
  };
  if (any(slides, true)) keys.flags("attention.sliding_window_pattern", slides);
  if (any(rotates, false)) keys.flags("attention.rope_layers", rotates);
  if (any(chunks, true)) {
    keys.flags("attention.chunked_layers", chunks);
    keys.integer("attention.chunk_size", chunk);
  }
  const nn::AttentionConfig& a = c.attention;
  if (a.temperature_scale > 0) {
    keys.number("attention.temperature_scale", a.temperature_scale);
    keys.integer("attention.temperature_length", a.temperature_floor);
  }
  for (const moe::LayerConfig& ffn : c.ffn_L) {
    if (ffn.dense()) continue;
    const moe::RouterConfig& r = ffn.router;
    if (r.norm_power != 1) keys.number("expert_norm_power", r.norm_power);
    if (r.norm_min != 0) keys.number("expert_norm_min", r.norm_min);
    if (r.kind == "sigmoid_bias" || r.n_groups > 1) {
      keys.boolean("expert_group_fill_zero", r.group_fill_zero);
    }
    break;
  }
}

// The divisor of every pair's frequency, as files of other writers have it.
std::vector<float> wavelength_factors(const nn::TransformerConfig& c) {
  const nn::RopeScaling& s = c.rope.scaling;
  const int rotary = c.rope.rotary_dim > 0 ? c.rope.rotary_dim : c.head_dim;
  nn::RopeConfig plain = c.rope;
  plain.scaling = {};
  const std::vector<float> before = nn::rope_frequencies(plain, rotary, false);
  const auto original = static_cast<double>(s.original_positions);
  std::vector<float> factors;
  for (const float frequency : before) {
    const double wavelength = 2 * std::numbers::pi / static_cast<double>(frequency);
    double factor = s.factor;
    if (wavelength < original / s.high_freq_factor) {
      factor = 1;
    } else if (wavelength <= original / s.low_freq_factor) {
      const double smooth =
          (original / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
      factor = 1 / ((1 - smooth) / s.factor + smooth);
    }
    factors.push_back(static_cast<float>(factor));
  }
  return factors;
}

}  // namespace

const GgufForm& gguf_form_of(const std::string& model_type) {
  const Architecture& architecture = find_architecture(model_type);
  if (architecture.gguf == nullptr) {
    fail(ErrorKind::kUnsupported, "there is no GGUF form of '{}'", model_type);
  }
  return *architecture.gguf;
}

io::GgufMetadata gguf_metadata(const nn::TransformerConfig& c) {
  const GgufForm& form = gguf_form_of(c.architecture);
  io::GgufMetadata metadata;
  metadata.set("general.architecture", std::string(form.arch));
  Keys keys(metadata, form.arch);
  keys.integer("block_count", c.n_layers);
  keys.integer("context_length", c.max_positions);
  keys.integer("embedding_length", c.d_model);
  keys.integer("vocab_size", c.vocab_size);
  keys.number(c.norm == nn::NormKind::kRms ? "attention.layer_norm_rms_epsilon"
                                           : "attention.layer_norm_epsilon",
              double{c.norm_eps});
  write_attention(c, keys);
  write_rope(c, keys);
  write_experts(c, keys);
  write_own_keys(c, keys);
  if (c.embedding_scale != 1) keys.number("embedding_scale", double{c.embedding_scale});
  if (c.residual_scale != 1) keys.number("residual_scale", double{c.residual_scale});
  if (c.logit_scale != 1) keys.number("logit_scale", 1 / static_cast<double>(c.logit_scale));
  if (form.write != nullptr) form.write(c, metadata);
  return metadata;
}

std::vector<GgufConstant> gguf_constants(const nn::TransformerConfig& c) {
  const nn::RopeScaling& s = c.rope.scaling;
  const auto floats = [](const std::vector<double>& values) {
    return std::vector<float>(values.begin(), values.end());
  };
  switch (s.kind) {
    case nn::RopeScalingKind::kLongRope:
      return {{"rope_factors_long.weight", floats(s.long_factors)},
              {"rope_factors_short.weight", floats(s.short_factors)}};
    case nn::RopeScalingKind::kFactors:
      return {{"rope_freqs.weight", floats(s.short_factors)}};
    case nn::RopeScalingKind::kWavelength:
      return {{"rope_freqs.weight", wavelength_factors(c)}};
    default:
      return {};
  }
}

}  // namespace conclave::models
