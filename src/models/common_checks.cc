// Keys that must say what the reference implementation does anyway, and whether a recipe survives
// being written as an architecture's config.json.
#include <cmath>

#include "models/common.h"

namespace conclave::models {
namespace {

[[noreturn]] void unsupported(const io::JsonView& config, std::string_view key,
                              const std::string& found, const std::string& expected) {
  fail(ErrorKind::kUnsupported, "{}: key '{}': found {}, only {} is supported", config.file_name(),
       key, found, expected);
}

bool same(double a, double b) {
  return std::abs(a - b) <= 1e-9 * std::max(std::abs(a), std::abs(b));
}

bool same(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!same(a[i], b[i])) return false;
  }
  return true;
}

// Settings that a kind of scaling does not use do not count.
bool same(const nn::RopeScaling& a, const nn::RopeScaling& b) {
  using Kind = nn::RopeScalingKind;
  if (a.kind != b.kind) return false;
  if (a.kind == Kind::kNone) return true;
  // longrope's factor only gave the magnitudes.
  if (a.kind != Kind::kLongRope && !same(a.factor, b.factor)) return false;
  if (a.kind == Kind::kLinear) return true;
  if (a.original_positions != b.original_positions || !same(a.magnitude, b.magnitude) ||
      !same(a.long_magnitude, b.long_magnitude)) {
    return false;
  }
  if (a.kind == Kind::kYarn) {
    return same(a.beta_fast, b.beta_fast) && same(a.beta_slow, b.beta_slow) &&
           a.truncate == b.truncate;
  }
  if (a.kind == Kind::kLongRope) {
    return same(a.short_factors, b.short_factors) && same(a.long_factors, b.long_factors);
  }
  return same(a.low_freq_factor, b.low_freq_factor) && same(a.high_freq_factor, b.high_freq_factor);
}

int rotary_dim(const nn::TransformerConfig& c) {
  return c.rope.rotary_dim > 0 ? c.rope.rotary_dim : c.head_dim;
}

bool same(const nn::LatentAttention& a, const nn::LatentAttention& b) {
  if (!a.enabled() && !b.enabled()) return true;
  return a.kv_rank == b.kv_rank && a.q_rank == b.q_rank && a.nope_dim == b.nope_dim &&
         a.rope_dim == b.rope_dim && a.value_dim == b.value_dim && a.norm_eps == b.norm_eps;
}

double score_scale(const nn::TransformerConfig& c) {
  return c.attention.scale > 0 ? c.attention.scale : 1 / std::sqrt(static_cast<double>(c.head_dim));
}

bool same(const nn::AttentionConfig& a, const nn::AttentionConfig& b) {
  return a.qkv_bias == b.qkv_bias && a.out_bias == b.out_bias && a.qk_norm == b.qk_norm &&
         (a.qk_norm == nn::QkNorm::kNone || a.norm_after_rope == b.norm_after_rope) &&
         same(a.clip_qkv, b.clip_qkv) && a.sinks == b.sinks &&
         same(a.temperature_scale, b.temperature_scale) &&
         (a.temperature_scale == 0 || a.temperature_floor == b.temperature_floor) &&
         same(a.latent, b.latent);
}

bool limits_groups(const moe::RouterConfig& r) { return r.topk_groups < r.n_groups; }

bool same_groups(const moe::RouterConfig& a, const moe::RouterConfig& b) {
  if (!limits_groups(a) && !limits_groups(b)) return true;
  return a.n_groups == b.n_groups && a.topk_groups == b.topk_groups &&
         a.group_score == b.group_score && a.group_fill_zero == b.group_fill_zero;
}

// Without what only training uses: capacity, jitter, the noise of noisy top-k.
bool same(const moe::RouterConfig& a, const moe::RouterConfig& b) {
  return a.kind == b.kind && a.n_experts == b.n_experts && a.k == b.k &&
         a.renormalize == b.renormalize && same(a.norm_power, b.norm_power) &&
         same(a.norm_min, b.norm_min) && same(a.scale, b.scale) && same_groups(a, b) &&
         a.hash_seed == b.hash_seed && same(a.mixer_epsilon, b.mixer_epsilon);
}

bool same(const moe::LayerConfig& a, const moe::LayerConfig& b) {
  if (a.dense() != b.dense() || a.d_expert != b.d_expert || a.d_shared != b.d_shared ||
      a.linear_bias != b.linear_bias || a.shared_gate != b.shared_gate ||
      a.activation != b.activation) {
    return false;
  }
  if (a.activation == moe::Activation::kClampedSwiGlu && a.activation_limit != b.activation_limit) {
    return false;
  }
  return a.dense() || (same(a.router, b.router) && a.expert_bias == b.expert_bias &&
                       a.router_bias == b.router_bias && a.weight_inputs == b.weight_inputs);
}

}  // namespace

void require_boolean(const io::JsonView& config, std::string_view key, bool value) {
  if (config.boolean(key, value) != value) {
    unsupported(config, key, value ? "false" : "true", value ? "true" : "false");
  }
}

void require_string(const io::JsonView& config, std::string_view key, std::string_view value) {
  const std::string found = config.string(key, value);
  if (found != value) unsupported(config, key, found.substr(0, 64), std::string(value));
}

void require_number(const io::JsonView& config, std::string_view key, double value) {
  const double found = config.number(key, -1e300, 1e300, value);
  if (found != value) unsupported(config, key, fmt::format("{}", found), fmt::format("{}", value));
}

void check_quantization(const io::JsonView& config, std::string_view method) {
  if (!config.has("quantization_config")) return;
  const io::JsonView q = config.object("quantization_config");
  require_string(q, "quant_method", method);
  if (method != "fp8") return;
  require_string(q, "fmt", "e4m3");
  if (!q.has("weight_block_size")) return;
  const std::vector<std::int64_t> block = q.integers("weight_block_size", 1, 1 << 20);
  if (block != std::vector<std::int64_t>{128, 128}) {
    unsupported(q, "weight_block_size", "other blocks", "[128, 128]");
  }
}

moe::LayerConfig routed_ffn(const io::JsonView& config, std::string_view router,
                            std::string_view experts_key, std::int64_t experts_if_absent,
                            std::string_view k_key, std::int64_t k_if_absent, int width) {
  moe::LayerConfig ffn;
  ffn.router = moe::default_router_config(router);
  ffn.router.n_experts =
      static_cast<int>(config.integer(experts_key, 1, moe::kMaxExperts, experts_if_absent));
  if (ffn.router.n_experts < 2) unsupported(config, experts_key, "1", "2 or more");
  ffn.router.k = static_cast<int>(config.integer(k_key, 1, ffn.router.n_experts, k_if_absent));
  ffn.d_expert = width;
  return ffn;
}

std::string recipe_difference(const nn::TransformerConfig& a, const nn::TransformerConfig& b) {
  if (a.vocab_size != b.vocab_size || a.d_model != b.d_model || a.n_layers != b.n_layers ||
      a.n_heads != b.n_heads || a.n_kv_heads != b.n_kv_heads || a.head_dim != b.head_dim ||
      a.max_positions != b.max_positions) {
    return "sizes";
  }
  if (a.norm != b.norm || a.norm_eps != b.norm_eps || a.norm_bias != b.norm_bias) return "norms";
  if (!same(a.rope.theta, b.rope.theta) || rotary_dim(a) != rotary_dim(b) ||
      !same(a.rope.scaling, b.rope.scaling)) {
    return "rotary positions";
  }
  if (!same(a.attention, b.attention) || !same(score_scale(a), score_scale(b))) return "attention";
  for (int layer = 0; layer < a.n_layers; ++layer) {
    if (!(a.attention_at(layer) == b.attention_at(layer))) {
      return fmt::format("windows, chunks or positions of layer {}", layer);
    }
  }
  if (a.embedding_scale != b.embedding_scale || a.residual_scale != b.residual_scale ||
      a.logit_scale != b.logit_scale) {
    return "scales of embeddings, residuals or logits";
  }
  if (a.head_bias != b.head_bias || a.tie_embeddings != b.tie_embeddings) return "the output head";
  if (a.ffn_L.size() != b.ffn_L.size()) return "layers";
  for (std::size_t layer = 0; layer < a.ffn_L.size(); ++layer) {
    if (!same(a.ffn_L[layer], b.ffn_L[layer])) {
      return fmt::format("router or experts of layer {}", layer);
    }
  }
  if (a.bos_id != b.bos_id || a.eos_id != b.eos_id || a.pad_id != b.pad_id) return "special tokens";
  return "";
}

bool survives_round_trip(const nn::TransformerConfig& config,
                         nn::TransformerConfig (*parse)(const io::JsonView& config),
                         nlohmann::json (*write)(const nn::TransformerConfig& config),
                         std::string& reason) {
  try {
    const nlohmann::json json = write(config);
    nn::TransformerConfig again = parse(io::JsonView(json, "config.json"));
    reason = recipe_difference(config, again);
    if (reason.empty()) return true;
    reason += " that its config.json cannot say";
  } catch (const Error& error) {
    reason = error.message();
  }
  return false;
}

std::string ffn_tensor_name(const ParamId& id, const nn::TransformerConfig& config,
                            const FfnNames& names) {
  if (id.layer < 0) return "";
  const std::string block = layer_prefix(id) + std::string(names.block);
  switch (id.role) {
    case Role::kRouter:
      return block + std::string(names.router);
    case Role::kExpertBias:
      return block + std::string(names.expert_bias);
    case Role::kSharedGate:
    case Role::kSharedUp:
    case Role::kSharedDown:
    case Role::kSharedGateBias:
    case Role::kSharedUpBias:
    case Role::kSharedDownBias:
      return projection_name(block + std::string(names.shared), id.role);
    default:
      break;
  }
  if (config.ffn_L[static_cast<std::size_t>(id.layer)].dense()) {
    return projection_name(block, id.role);
  }
  return projection_name(fmt::format("{}experts.{}.", block, id.expert), id.role);
}

std::string decoder_tensor_name(const ParamId& id, const nn::TransformerConfig& config,
                                const FfnNames& names) {
  const std::string common = common_tensor_name(id);
  return common.empty() ? ffn_tensor_name(id, config, names) : common;
}

TensorPlace place_decoder(const ParamSpec& spec, const nn::TransformerConfig& config,
                          const StoredNames&) {
  return TensorPlace::whole(decoder_tensor_name(spec.id, config), spec);
}

bool beyond_last_layer(const std::string& name, const nn::TransformerConfig& config) {
  constexpr std::string_view kPrefix = "model.layers.";
  if (!name.starts_with(kPrefix)) return false;
  int layer = 0;
  std::size_t at = kPrefix.size();
  for (; at < name.size() && name[at] >= '0' && name[at] <= '9'; ++at) {
    layer = std::min(layer * 10 + (name[at] - '0'), 1 << 20);
  }
  return at > kPrefix.size() && at < name.size() && name[at] == '.' && layer >= config.n_layers;
}

}  // namespace conclave::models
