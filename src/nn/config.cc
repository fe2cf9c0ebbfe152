#include "nn/config.h"

#include <limits>

namespace conclave::nn {
namespace {

void require(bool good, const char* field, std::int64_t found, const char* expected) {
  if (!good) fail(ErrorKind::kInvalidArgument, "{}: found {}, expected {}", field, found, expected);
}

// Sums and products of sizes that a file may choose freely.
struct Checked {
  std::int64_t value = 0;
  void add_product(std::int64_t a, std::int64_t b, std::int64_t c = 1) {
    std::int64_t ab = 0, abc = 0;
    if (__builtin_mul_overflow(a, b, &ab) || __builtin_mul_overflow(ab, c, &abc) ||
        __builtin_add_overflow(value, abc, &value) ||
        value > std::numeric_limits<std::int64_t>::max() / 64) {
      fail(ErrorKind::kInvalidArgument,
           "the sizes of this model overflow: reduce vocabulary, widths, layers or experts");
    }
  }
};

struct LayerCounts {
  std::int64_t total = 0, active = 0;
};

LayerCounts count_ffn(const TransformerConfig& config, const moe::LayerConfig& ffn) {
  const std::int64_t D = config.d_model, E = ffn.n_experts();
  Checked total, active;
  total.add_product(3 * D, ffn.d_expert, E);
  active.add_product(3 * D, ffn.d_expert, ffn.dense() ? 1 : ffn.router.k);
  for (Checked* count : {&total, &active}) {
    if (!ffn.dense() && moe::router_traits(ffn.router.kind).needs_logits) count->add_product(E, D);
    count->add_product(3 * D, ffn.d_shared);
    if (ffn.shared_gate) count->add_product(1, D);
    if (ffn.router_bias) count->add_product(1, E);
    if (ffn.linear_bias)
      count->add_product(1, D + 2 * static_cast<std::int64_t>(ffn.d_shared), ffn.d_shared > 0);
  }
  if (ffn.linear_bias) {
    const std::int64_t biases = D + 2 * static_cast<std::int64_t>(ffn.d_expert);
    total.add_product(biases, E);
    active.add_product(biases, ffn.dense() ? 1 : ffn.router.k);
  }
  if (!ffn.dense() && moe::router_traits(ffn.router.kind).needs_noise_logits) {
    total.add_product(E, D);  // noise is for training: no token uses it at inference
  }
  return {total.value, active.value};
}

// Of one layer's attention: weights that multiply, and vectors.
struct AttentionCounts {
  std::int64_t matrices = 0, vectors = 0;
};

AttentionCounts count_attention(const TransformerConfig& c) {
  const std::int64_t D = c.d_model, Q = c.head_dim, H = c.n_heads, G = c.n_kv_heads;
  const AttentionConfig& a = c.attention;
  const LatentAttention& m = a.latent;
  Checked matrices, vectors;
  if (m.enabled()) {
    matrices.add_product(H * Q, m.q_rank > 0 ? m.q_rank : D);
    if (m.q_rank > 0) matrices.add_product(m.q_rank, D);
    matrices.add_product(m.kv_rank + m.rope_dim, D);
    matrices.add_product(H, m.nope_dim + m.value_dim, m.kv_rank);
    matrices.add_product(D, H, m.value_dim);
    vectors.add_product(1, m.q_rank + m.kv_rank);
    if (a.qkv_bias) vectors.add_product(1, m.q_rank + m.kv_rank + m.rope_dim);
  } else {
    matrices.add_product(D, Q, 2 * (H + G));
    if (a.qkv_bias) vectors.add_product(Q, H + 2 * G);
    if (a.qk_norm == QkNorm::kHead) vectors.add_product(2, Q);
    if (a.qk_norm == QkNorm::kProjection) vectors.add_product(Q, H + G);
    if (a.sinks) vectors.add_product(1, H);
  }
  if (a.out_bias) vectors.add_product(1, D);
  return {matrices.value, vectors.value};
}

void validate_latent(const TransformerConfig& c) {
  const LatentAttention& m = c.attention.latent;
  constexpr std::int64_t kRank = 1 << 16;
  require(m.kv_rank >= 0 && m.kv_rank <= kRank, "latent width", m.kv_rank, "0 to 65536");
  if (!m.enabled()) return;
  require(m.q_rank >= 0 && m.q_rank <= kRank, "latent width of queries", m.q_rank, "0 to 65536");
  require(m.rope_dim >= 2 && m.rope_dim % 2 == 0 && m.rope_dim <= 4096, "rotary head width",
          m.rope_dim, "an even number, 2 to 4096");
  require(m.nope_dim >= 1 && m.nope_dim <= 4096, "head width without positions", m.nope_dim,
          "1 to 4096");
  require(m.value_dim >= 1 && m.value_dim <= 4096, "value width", m.value_dim, "1 to 4096");
  require(c.head_dim == m.rope_dim + m.nope_dim, "head width", c.head_dim,
          "the sum of its rotary and other parts");
  require(c.rope.rotary_dim == m.rope_dim, "rotary width", c.rope.rotary_dim,
          "that of latent attention");
}

void validate_scaling(const TransformerConfig& c) {
  const RopeScaling& s = c.rope.scaling;
  if (s.kind == RopeScalingKind::kNone) return;
  const auto bad = [](double x) { return !(x > 0 && x < 1e12); };
  if (bad(s.factor) || bad(s.magnitude) || bad(s.long_magnitude) || bad(s.beta_fast) ||
      bad(s.beta_slow) || bad(s.low_freq_factor) || bad(s.high_freq_factor)) {
    fail(ErrorKind::kInvalidArgument, "scaling of rotary positions: its numbers must be positive");
  }
  const bool needs_original =
      s.kind != RopeScalingKind::kLinear && s.kind != RopeScalingKind::kFactors;
  require(!needs_original || s.original_positions >= 1, "context before scaling",
          s.original_positions, "1 or more");
  if (s.kind == RopeScalingKind::kYarn && c.rope.theta <= 1) {
    fail(ErrorKind::kInvalidArgument, "rope theta {}: YaRN needs more than 1", c.rope.theta);
  }
  const bool two_sets = s.kind == RopeScalingKind::kLongRope;
  if (!two_sets && s.kind != RopeScalingKind::kFactors) return;
  const int pairs = (c.rope.rotary_dim > 0 ? c.rope.rotary_dim : c.head_dim) / 2;
  for (const auto* factors : {&s.short_factors, two_sets ? &s.long_factors : &s.short_factors}) {
    require(static_cast<int>(factors->size()) == pairs, "rotary factors",
            static_cast<std::int64_t>(factors->size()), "one for every rotary pair");
    for (const double factor : *factors) {
      if (bad(factor)) {
        fail(ErrorKind::kInvalidArgument, "rotary factor {}: expected a positive number", factor);
      }
    }
  }
}

void validate_attention(const TransformerConfig& c) {
  const AttentionConfig& a = c.attention;
  validate_latent(c);
  validate_scaling(c);
  require(c.attention_L.empty() || static_cast<int>(c.attention_L.size()) == c.n_layers,
          "layers' attention", static_cast<std::int64_t>(c.attention_L.size()), "one a layer");
  for (const LayerAttention& layer : c.attention_L) {
    require(layer.window >= 0, "sliding window", layer.window, "0 (none) or more");
    require(layer.chunk >= 0, "attention chunk", layer.chunk, "0 (none) or more");
  }
  require(a.temperature_scale == 0 || a.temperature_floor >= 1, "floor of attention temperature",
          a.temperature_floor, "1 or more");
  for (const double x : {a.clip_qkv, a.scale, a.temperature_scale, double{c.embedding_scale},
                         double{c.residual_scale}, double{c.logit_scale}}) {
    if (!(x >= 0 && x < 1e12)) {
      fail(ErrorKind::kInvalidArgument, "a scale or limit of the model is {}, expected 0 or more",
           x);
    }
  }
}

void validate_ffn(const moe::LayerConfig& ffn, std::int64_t limit) {
  require(ffn.d_expert >= 1 && ffn.d_expert <= limit, "expert width", ffn.d_expert, "1 to 1048576");
  require(ffn.d_shared >= 0 && ffn.d_shared <= limit, "shared expert width", ffn.d_shared,
          "0 to 1048576");
  if (ffn.dense()) return;
  moe::validate_router_config(ffn.router);
  moe::check_causal(ffn.router);
  if (ffn.expert_bias && !moe::router_traits(ffn.router.kind).supports_bias) {
    fail(ErrorKind::kInvalidArgument, "router '{}' has no selection bias: use sigmoid_bias",
         ffn.router.kind);
  }
}

// The first option of the blocks that has no backward pass; empty: all have.
std::string untrainable(const TransformerConfig& c) {
  const AttentionConfig& a = c.attention;
  if (a.latent.enabled()) return "latent attention";
  if (c.norm != NormKind::kRms || c.norm_bias) return "LayerNorm";
  if (a.qkv_bias || a.out_bias || c.head_bias) return "biases of attention or of the output head";
  if (a.qk_norm != QkNorm::kNone) return "norms of queries and keys";
  if (a.clip_qkv != 0 || a.sinks || a.temperature_scale != 0) return "this kind of attention";
  if (c.embedding_scale != 1 || c.residual_scale != 1 || c.logit_scale != 1) {
    return "scaled embeddings, residuals or logits";
  }
  for (const LayerAttention& layer : c.attention_L) {
    if (layer.chunk != 0 || !layer.rope) return "attention in chunks or without positions";
  }
  for (const moe::LayerConfig& ffn : c.ffn_L) {
    if (ffn.router_bias || ffn.linear_bias || ffn.shared_gate || ffn.weight_inputs ||
        ffn.activation != moe::Activation::kSwiGlu) {
      return "experts with biases, a shared gate, weighted inputs or a clamped unit";
    }
  }
  return "";
}

}  // namespace

ParameterCounts count_parameters(const TransformerConfig& config) {
  const std::int64_t D = config.d_model, V = config.vocab_size;
  const std::int64_t norms = config.norm_bias ? 2 : 1;
  const AttentionCounts attention = count_attention(config);
  Checked total, active, vectors;
  ParameterCounts counts;
  for (const moe::LayerConfig& ffn : config.ffn_L) {
    const LayerCounts layer = count_ffn(config, ffn);
    total.add_product(1, layer.total);
    total.add_product(1, attention.matrices);
    total.add_product(1, ffn.expert_bias ? ffn.n_experts() : 0);
    active.add_product(1, layer.active);
    active.add_product(1, attention.matrices);
    vectors.add_product(1, attention.vectors + 2 * D * norms);
  }
  vectors.add_product(norms, D);
  if (config.head_bias) vectors.add_product(1, V);
  active.add_product(V, D);  // the head
  counts.active_matmul = active.value;
  total.add_product(V, D, config.tie_embeddings ? 1 : 2);
  total.add_product(1, vectors.value);
  active.add_product(1, vectors.value);
  if (!config.tie_embeddings) active.add_product(1, D);  // one row of the embedding
  counts.total = total.value;
  counts.active = active.value;
  return counts;
}

void check_trainable(const TransformerConfig& config) {
  const std::string reason = untrainable(config);
  if (!reason.empty()) {
    fail(ErrorKind::kUnsupported, "{}: training has no backward pass for {} yet",
         config.architecture.empty() ? "this model" : config.architecture, reason);
  }
}

void validate(const TransformerConfig& config) {
  constexpr std::int64_t kWidth = 1 << 20;
  require(config.vocab_size >= 1 && config.vocab_size <= (1 << 24), "vocabulary size",
          config.vocab_size, "1 to 16777216");
  require(config.d_model >= 1 && config.d_model <= kWidth, "model width", config.d_model,
          "1 to 1048576");
  require(config.n_layers >= 1 && config.n_layers <= 4096, "layers", config.n_layers, "1 to 4096");
  require(config.n_kv_heads >= 1 && config.n_kv_heads <= 65536, "key/value heads",
          config.n_kv_heads, "1 to 65536");
  require(config.n_heads >= 1 && config.n_heads <= 65536 && config.n_heads % config.n_kv_heads == 0,
          "query heads", config.n_heads, "a multiple of the key/value heads, up to 65536");
  const bool whole = config.rope.rotary_dim == 0;  // the whole head turns, in pairs
  require(config.head_dim >= 2 && config.head_dim <= 4096 && (!whole || config.head_dim % 2 == 0),
          "head width", config.head_dim, "2 to 4096, even where all of it rotates");
  require(config.rope.rotary_dim >= 0 && config.rope.rotary_dim <= config.head_dim &&
              config.rope.rotary_dim % 2 == 0,
          "rotary width", config.rope.rotary_dim, "an even number up to the head width");
  require(config.max_positions >= 1 && config.max_positions <= (1 << 24), "context length",
          config.max_positions, "1 to 16777216");
  validate_attention(config);
  require(static_cast<int>(config.ffn_L.size()) == config.n_layers, "layers' FFN recipes",
          static_cast<std::int64_t>(config.ffn_L.size()), "one a layer");
  if (!(config.rope.theta > 0) || !(config.norm_eps > 0)) {
    fail(ErrorKind::kInvalidArgument, "rope theta ({}) and norm epsilon ({}) must be positive",
         config.rope.theta, config.norm_eps);
  }
  for (const moe::LayerConfig& ffn : config.ffn_L) validate_ffn(ffn, kWidth);
  count_parameters(config);  // throws where sizes overflow
}

}  // namespace conclave::nn
