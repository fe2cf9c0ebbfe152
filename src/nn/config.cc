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
  }
  if (!ffn.dense() && moe::router_traits(ffn.router.kind).needs_noise_logits) {
    total.add_product(E, D);  // noise is for training: no token uses it at inference
  }
  return {total.value, active.value};
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

}  // namespace

ParameterCounts count_parameters(const TransformerConfig& config) {
  const std::int64_t D = config.d_model, V = config.vocab_size, Q = config.head_dim;
  Checked shared, total, active;
  shared.add_product(D, Q, 2 * (static_cast<std::int64_t>(config.n_heads) + config.n_kv_heads));
  ParameterCounts counts;
  for (const moe::LayerConfig& ffn : config.ffn_L) {
    const LayerCounts layer = count_ffn(config, ffn);
    total.add_product(1,
                      layer.total + shared.value + 2 * D + (ffn.expert_bias ? ffn.n_experts() : 0));
    active.add_product(1, layer.active + shared.value);
  }
  active.add_product(V, D);  // the head
  counts.active_matmul = active.value;
  total.add_product(V, D, config.tie_embeddings ? 1 : 2);
  total.add_product(1, D);
  active.add_product(1, D * (2 * static_cast<std::int64_t>(config.ffn_L.size()) + 1));
  if (!config.tie_embeddings) active.add_product(1, D);  // one row of the embedding
  counts.total = total.value;
  counts.active = active.value;
  return counts;
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
  require(config.head_dim >= 2 && config.head_dim <= 4096 && config.head_dim % 2 == 0, "head width",
          config.head_dim, "an even number, 2 to 4096");
  require(config.rope.rotary_dim >= 0 && config.rope.rotary_dim <= config.head_dim &&
              config.rope.rotary_dim % 2 == 0,
          "rotary width", config.rope.rotary_dim, "an even number up to the head width");
  require(config.max_positions >= 1 && config.max_positions <= (1 << 24), "context length",
          config.max_positions, "1 to 16777216");
  require(config.window >= 0, "sliding window", config.window, "0 (none) or more");
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
