// From the keys and tensors of a GGUF file to a recipe. Behaviour follows from what the file holds,
// never from the model's name.
#include <algorithm>
#include <cmath>

#include "models/common.h"
#include "models/gguf_form.h"

namespace conclave::models {
namespace {

constexpr std::int64_t kMax = 1 << 24;

std::string block(int layer, const char* name) { return fmt::format("blk.{}.{}", layer, name); }

// A dimension of a tensor that must be there.
int dimension(const GgufKeys& keys, const std::string& tensor, std::size_t index,
              std::int64_t max) {
  const io::GgufTensor& found = keys.source().get(tensor);
  if (index >= found.dims.size() || found.dims[index] < 1 || found.dims[index] > max) {
    fail(ErrorKind::kBadFile, "{}: has shape {}", keys.source().describe(found), found.shape_str());
  }
  return static_cast<int>(found.dims[index]);
}

int token(const GgufKeys& keys, const char* name) {
  const std::string key = fmt::format("tokenizer.ggml.{}_token_id", name);
  // Some writers put 2^32 - 1 for "none".
  const std::int64_t id = keys.metadata().integer(key, -1, (std::int64_t{1} << 32) - 1, -1);
  return id > kMax ? -1 : static_cast<int>(id);
}

void read_norms(const GgufKeys& keys, nn::TransformerConfig& c) {
  const bool rms = keys.has("attention.layer_norm_rms_epsilon");
  c.norm =
      rms || !keys.has("attention.layer_norm_epsilon") ? nn::NormKind::kRms : nn::NormKind::kLayer;
  const char* key = c.norm == nn::NormKind::kRms ? "attention.layer_norm_rms_epsilon"
                                                 : "attention.layer_norm_epsilon";
  c.norm_eps = static_cast<float>(keys.number(key, 1e-20, 1.0, 1e-5));
  c.norm_bias = keys.has_tensor(block(0, "attn_norm.bias"));
}

void read_latent(const GgufKeys& keys, nn::TransformerConfig& c) {
  nn::LatentAttention& m = c.attention.latent;
  m.kv_rank = keys.integer("attention.kv_lora_rank", 1, 65536);
  m.q_rank = keys.has_tensor(block(0, "attn_q_a.weight"))
                 ? keys.integer("attention.q_lora_rank", 1, 65536)
                 : 0;
  m.rope_dim = keys.integer("rope.dimension_count", 2, 4096);
  // Files whose cache is the latent say the heads' widths in keys of their own.
  const bool absorbed = keys.has("attention.key_length_mla");
  c.head_dim =
      keys.integer(absorbed ? "attention.key_length_mla" : "attention.key_length", 2, 8192);
  m.value_dim =
      keys.integer(absorbed ? "attention.value_length_mla" : "attention.value_length", 1, 4096);
  m.nope_dim = c.head_dim - m.rope_dim;
  c.rope.rotary_dim = m.rope_dim;
  c.n_kv_heads = c.n_heads;
}

void read_attention(const GgufKeys& keys, nn::TransformerConfig& c) {
  c.n_heads = keys.same_in_all_layers("attention.head_count", 1, 65536, 0);
  if (keys.has("attention.kv_lora_rank")) {
    read_latent(keys, c);
  } else {
    c.n_kv_heads = keys.same_in_all_layers("attention.head_count_kv", 1, 65536, c.n_heads);
    c.head_dim = keys.integer("attention.key_length", 2, 4096, std::max(2, c.d_model / c.n_heads));
    if (keys.integer("attention.value_length", 1, 4096, c.head_dim) != c.head_dim) {
      keys.metadata().fail_at(keys.key("attention.value_length"),
                              "values that are not as wide as keys are not supported");
    }
    const int rotary = keys.integer("rope.dimension_count", 2, 4096, c.head_dim);
    c.rope.rotary_dim = rotary == c.head_dim ? 0 : rotary;
  }
  nn::AttentionConfig& a = c.attention;
  a.qkv_bias = keys.has_tensor(block(0, "attn_q.bias")) ||
               keys.has_tensor(block(0, "attn_kv_a_mqa.bias")) ||
               keys.has_tensor(block(0, "attn_qkv.bias"));
  a.out_bias = keys.has_tensor(block(0, "attn_output.bias"));
  a.sinks = keys.has_tensor(block(0, "attn_sinks.weight"));
  if (const std::string norm = block(0, "attn_q_norm.weight"); keys.has_tensor(norm)) {
    const bool head = dimension(keys, norm, 0, kMax) == c.head_dim;
    a.qk_norm = head ? nn::QkNorm::kHead : nn::QkNorm::kProjection;
  }
  a.clip_qkv = keys.number("attention.clamp_kqv", 0, 1e9, 0);
  a.scale = keys.number("attention.scale", 0, 1e9, 0);
  if (const int window = keys.integer("attention.sliding_window", 0, kMax, 0); window > 0) {
    c.attention_L.assign(static_cast<std::size_t>(c.n_layers), {});
    for (nn::LayerAttention& layer : c.attention_L) layer.window = window;
  }
}

std::vector<double> factors(const GgufKeys& keys, const char* name) {
  const io::GgufTensor& tensor = keys.source().get(name);
  if (tensor.dims.size() != 1 || tensor.count() > 4096) {
    fail(ErrorKind::kBadFile, "{}: has shape {}, expected one factor a rotary pair",
         keys.source().describe(tensor), tensor.shape_str());
  }
  std::vector<float> values(static_cast<std::size_t>(tensor.count()));
  keys.source().read_f32(name, Shape{tensor.count()}, std::span<float>(values));
  return {values.begin(), values.end()};
}

void read_rope(const GgufKeys& keys, nn::TransformerConfig& c) {
  c.rope.theta = keys.number("rope.freq_base", 1e-3, 1e12, 10000);
  nn::RopeScaling& s = c.rope.scaling;
  const std::string type_key = keys.key("rope.scaling.type");
  const std::string type = keys.metadata().string(type_key, "none");
  s.factor = keys.number("rope.scaling.factor", 1e-3, 1e6,
                         keys.number("rope.scaling.stretch", 1e-3, 1e6, 1));
  s.original_positions =
      keys.integer("rope.scaling.original_context_length", 1, kMax, c.max_positions);
  const double ratio = keys.number("rope.scaling.attn_factor", 1e-6, 1e6, 1);
  if (type == "linear") {
    s.kind = nn::RopeScalingKind::kLinear;
  } else if (type == "yarn") {
    s.kind = nn::RopeScalingKind::kYarn;
    s.beta_fast = keys.number("rope.scaling.yarn_beta_fast", 1e-3, 1e6, 32);
    s.beta_slow = keys.number("rope.scaling.yarn_beta_slow", 1e-3, 1e6, 1);
    s.truncate = keys.boolean("rope.scaling.yarn_truncate", true);
    s.magnitude =
        keys.number("rope.scaling.magnitude", 1e-6, 1e6, yarn_magnitude(s.factor) * ratio);
    s.long_magnitude = s.magnitude;
  } else if (keys.has_tensor("rope_factors_long.weight")) {
    s.kind = nn::RopeScalingKind::kLongRope;
    s.short_factors = factors(keys, "rope_factors_short.weight");
    s.long_factors = factors(keys, "rope_factors_long.weight");
    s.magnitude = keys.number("rope.scaling.short_magnitude", 1e-6, 1e6, ratio);
    s.long_magnitude = keys.number("rope.scaling.long_magnitude", 1e-6, 1e6, ratio);
  } else if (keys.has("rope.scaling.low_freq_factor")) {
    s.kind = nn::RopeScalingKind::kWavelength;
    s.low_freq_factor = keys.number("rope.scaling.low_freq_factor", 1e-6, 1e6, 1);
    s.high_freq_factor = keys.number("rope.scaling.high_freq_factor", 1e-6, 1e6, 4);
  } else if (keys.has_tensor("rope_freqs.weight")) {
    s.kind = nn::RopeScalingKind::kFactors;
    s.short_factors = factors(keys, "rope_freqs.weight");
  } else if (type != "none" && type != "longrope") {
    keys.metadata().fail_at(type_key, fmt::format("'{}' is not supported", type));
  }
  if (s.kind == nn::RopeScalingKind::kNone) s = {};
}

moe::RouterConfig read_router(const GgufKeys& keys, const GgufForm& form, int layer) {
  moe::RouterConfig r =
      form.router == nullptr ? moe::default_router_config("softmax_topk") : form.router();
  if (keys.has("expert_gating_func")) {
    const int gating = keys.integer("expert_gating_func", 0, 255);
    const char* kind = gating == 2 ? "sigmoid_bias" : "softmax_topk";
    if (gating > 3) {
      keys.metadata().fail_at(keys.key("expert_gating_func"),
                              fmt::format("gating function {} is not supported", gating));
    }
    const bool softmax_family = r.kind == "softmax_topk" || r.kind == "sigmoid_bias";
    if (gating != 0 && softmax_family && r.kind != kind) {
      const bool renormalize = r.renormalize;
      r = moe::default_router_config(kind);
      r.renormalize = renormalize;
    }
    if (gating == 3) r.renormalize = true;
  }
  r.n_experts = keys.of_layer("expert_count", layer, 2, moe::kMaxExperts);
  r.k = keys.of_layer("expert_used_count", layer, 1, moe::kMaxExperts);
  r.renormalize = keys.boolean("expert_weights_norm", r.renormalize);
  const double scale = keys.number("expert_weights_scale", 0, 1e6, 0);
  if (scale > 0) r.scale = scale;  // 0 stands for "none"
  r.n_groups = keys.integer("expert_group_count", 0, moe::kMaxExperts, r.n_groups);
  r.topk_groups = keys.integer("expert_group_used_count", 0, moe::kMaxExperts, r.topk_groups);
  r.n_groups = std::max(1, r.n_groups);
  r.topk_groups = std::max(1, r.topk_groups);
  return r;
}

// Widths come from the tensors: the keys mean different things to different writers.
moe::LayerConfig read_ffn(const GgufKeys& keys, const GgufForm& form, int layer) {
  moe::LayerConfig ffn;
  if (!keys.has_tensor(block(layer, "ffn_gate_inp.weight"))) {
    ffn = dense_ffn(dimension(keys, block(layer, "ffn_up.weight"), 0, 1 << 20));
    ffn.linear_bias = keys.has_tensor(block(layer, "ffn_up.bias"));
    return ffn;
  }
  ffn.router = read_router(keys, form, layer);
  const std::string experts = block(layer, "ffn_down_exps.weight");
  const std::string early = block(layer, "ffn_down.0.weight");
  ffn.d_expert = keys.has_tensor(experts) || !keys.has_tensor(early)
                     ? dimension(keys, experts, 2, 1 << 20)
                     : dimension(keys, early, 1, 1 << 20);
  ffn.router_bias = keys.has_tensor(block(layer, "ffn_gate_inp.bias"));
  ffn.expert_bias = keys.has_tensor(block(layer, "exp_probs_b.bias"));
  ffn.linear_bias = keys.has_tensor(block(layer, "ffn_down_exps.bias"));
  if (const std::string shared = block(layer, "ffn_up_shexp.weight"); keys.has_tensor(shared)) {
    ffn.d_shared = dimension(keys, shared, 0, 1 << 20);
    ffn.shared_gate = keys.has_tensor(block(layer, "ffn_gate_inp_shexp.weight"));
  }
  return ffn;
}

// Options that no usual key has: see write_own_keys.
void read_own_keys(const GgufKeys& keys, nn::TransformerConfig& c) {
  const auto L = static_cast<std::size_t>(c.n_layers);
  const std::vector<bool> slides = keys.flags("attention.sliding_window_pattern", c.n_layers);
  const std::vector<bool> rotates = keys.flags("attention.rope_layers", c.n_layers);
  const std::vector<bool> chunks = keys.flags("attention.chunked_layers", c.n_layers);
  if (!slides.empty() || !rotates.empty() || !chunks.empty()) c.attention_L.resize(L);
  const int window = keys.integer("attention.sliding_window", 0, kMax, 0);
  const int chunk = keys.integer("attention.chunk_size", 0, kMax, 0);
  for (std::size_t layer = 0; layer < c.attention_L.size(); ++layer) {
    if (!slides.empty()) c.attention_L[layer].window = slides[layer] ? window : 0;
    if (!rotates.empty()) c.attention_L[layer].rope = rotates[layer];
    if (!chunks.empty()) c.attention_L[layer].chunk = chunks[layer] ? chunk : 0;
  }
  nn::AttentionConfig& a = c.attention;
  a.temperature_scale = keys.number("attention.temperature_scale", 0, 1e6, a.temperature_scale);
  a.temperature_floor = keys.integer("attention.temperature_length", 0, kMax, a.temperature_floor);
  if (keys.has("attention.qk_unit_norm")) {
    a.qk_norm =
        keys.boolean("attention.qk_unit_norm", false) ? nn::QkNorm::kUnit : nn::QkNorm::kNone;
  }
  for (moe::LayerConfig& ffn : c.ffn_L) {
    moe::RouterConfig& r = ffn.router;
    if (ffn.dense()) continue;
    r.norm_power = keys.number("expert_norm_power", 1e-3, 64, r.norm_power);
    r.norm_min = keys.number("expert_norm_min", 0, 1, r.norm_min);
    r.group_fill_zero = keys.boolean("expert_group_fill_zero", r.group_fill_zero);
  }
}

}  // namespace

moe::RouterConfig gguf_plain_softmax() {
  moe::RouterConfig router = moe::default_router_config("softmax_topk");
  router.renormalize = false;
  return router;
}

moe::RouterConfig gguf_grouped_sigmoid() {
  moe::RouterConfig router = moe::default_router_config("sigmoid_bias");
  router.group_fill_zero = true;
  return router;
}

void alternate_windows(nn::TransformerConfig& c) {
  for (std::size_t layer = 1; layer < c.attention_L.size(); layer += 2) {
    c.attention_L[layer].window = 0;
  }
}

std::vector<bool> GgufKeys::flags(std::string_view name, int n_layers) const {
  const io::GgufValue* value = metadata().find(key(name));
  if (value == nullptr) return {};
  const auto* array = std::get_if<io::GgufArray>(value);
  if (array == nullptr ||
      (array->item != io::GgufKind::kBool && array->item != io::GgufKind::kU8) ||
      array->numbers.size() < static_cast<std::size_t>(n_layers)) {
    metadata().fail_at(key(name), fmt::format("expected a list of {} booleans", n_layers));
  }
  std::vector<bool> flags;
  for (int i = 0; i < n_layers; ++i) {
    flags.push_back(array->numbers[static_cast<std::size_t>(i)] != std::byte{0});
  }
  return flags;
}

int GgufKeys::integer(std::string_view name, std::int64_t min, std::int64_t max) const {
  return static_cast<int>(metadata().integer(key(name), min, max));
}

int GgufKeys::integer(std::string_view name, std::int64_t min, std::int64_t max,
                      std::int64_t absent) const {
  return static_cast<int>(metadata().integer(key(name), min, max, absent));
}

double GgufKeys::number(std::string_view name, double min, double max, double absent) const {
  return metadata().number(key(name), min, max, absent);
}

bool GgufKeys::boolean(std::string_view name, bool absent) const {
  return metadata().boolean(key(name), absent);
}

int GgufKeys::same_in_all_layers(std::string_view name, std::int64_t min, std::int64_t max,
                                 std::int64_t absent) const {
  if (!has(name) && absent > 0) return static_cast<int>(absent);
  const std::vector<std::int64_t> values = metadata().integers(key(name), min, max);
  if (values.empty() ||
      std::any_of(values.begin(), values.end(), [&](std::int64_t v) { return v != values[0]; })) {
    metadata().fail_at(key(name), "layers that differ are not supported");
  }
  return static_cast<int>(values[0]);
}

int GgufKeys::of_layer(std::string_view name, int layer, std::int64_t min, std::int64_t max) const {
  const std::vector<std::int64_t> values = metadata().integers(key(name), 0, max);
  const auto at = values.size() == 1 ? 0 : static_cast<std::size_t>(layer);
  if (at >= values.size() || values[at] < min) {
    metadata().fail_at(key(name),
                       fmt::format("layer {} has none, expected {} to {}", layer, min, max));
  }
  return static_cast<int>(values[at]);
}

const Architecture& gguf_architecture(const io::GgufSource& source) {
  const std::string arch = source.metadata().string("general.architecture");
  std::string known;
  for (const Architecture* architecture : registry()) {
    if (architecture->gguf == nullptr) continue;
    const GgufForm& form = *architecture->gguf;
    if (form.arch == arch && (form.accepts == nullptr || form.accepts(GgufKeys(source, arch)))) {
      return *architecture;
    }
    if (known.find(form.arch) == std::string::npos) {
      known += (known.empty() ? "" : ", ") + std::string(form.arch);
    }
  }
  fail(ErrorKind::kUnsupported, "{}: GGUF architecture '{}' is not supported; known: {}",
       source.path(), arch, known);
}

nn::TransformerConfig config_from_gguf(const io::GgufSource& source) {
  const Architecture& architecture = gguf_architecture(source);
  const GgufForm& form = *architecture.gguf;
  const GgufKeys keys(source, form.arch);
  nn::TransformerConfig c;
  c.architecture = architecture.model_type;
  c.vocab_size = dimension(keys, "token_embd.weight", 0, kMax);
  c.d_model = keys.integer("embedding_length", 1, 1 << 20);
  // Layers that predict further tokens follow the others and are not run.
  c.n_layers =
      keys.integer("block_count", 1, 4096) - keys.integer("nextn_predict_layers", 0, 16, 0);
  if (c.n_layers < 1) source.metadata().fail_at(keys.key("block_count"), "leaves no layer to run");
  c.max_positions = keys.integer("context_length", 1, kMax, 2048);
  read_norms(keys, c);
  read_attention(keys, c);
  read_rope(keys, c);
  for (int layer = 0; layer < c.n_layers; ++layer) c.ffn_L.push_back(read_ffn(keys, form, layer));
  c.embedding_scale = static_cast<float>(keys.number("embedding_scale", 0, 1e9, 1));
  c.residual_scale = static_cast<float>(keys.number("residual_scale", 0, 1e9, 1));
  // GGUF divides by the scale; 0 stands for "none".
  const double divisor = keys.number("logit_scale", 0, 1e9, 0);
  c.logit_scale = divisor > 0 ? static_cast<float>(1 / divisor) : 1.0f;
  c.head_bias = keys.has_tensor("output.bias");
  c.tie_embeddings = !keys.has_tensor("output.weight");
  c.bos_id = token(keys, "bos");
  c.eos_id = token(keys, "eos");
  c.pad_id = token(keys, "padding");
  if (form.read != nullptr) form.read(keys, c);
  read_own_keys(keys, c);
  return with_context(source.path(), [&] {
    nn::validate(c);
    return std::move(c);
  });
}

}  // namespace conclave::models
