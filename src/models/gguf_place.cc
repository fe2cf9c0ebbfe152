// Tensor names of GGUF files, and where in them the weights lie.
#include <algorithm>

#include "models/gguf_form.h"

namespace conclave::models {
namespace {

// Within "blk.N.", except for the first three.
const char* usual_name(Role role, bool dense) {
  switch (role) {
    case Role::kEmbedding:
      return "token_embd.weight";
    case Role::kFinalNorm:
      return "output_norm.weight";
    case Role::kFinalNormBias:
      return "output_norm.bias";
    case Role::kHead:
      return "output.weight";
    case Role::kHeadBias:
      return "output.bias";
    case Role::kAttnNorm:
      return "attn_norm.weight";
    case Role::kAttnNormBias:
      return "attn_norm.bias";
    case Role::kQuery:
      return "attn_q.weight";
    case Role::kKey:
      return "attn_k.weight";
    case Role::kValue:
      return "attn_v.weight";
    case Role::kAttnOut:
      return "attn_output.weight";
    case Role::kQueryBias:
      return "attn_q.bias";
    case Role::kKeyBias:
      return "attn_k.bias";
    case Role::kValueBias:
      return "attn_v.bias";
    case Role::kAttnOutBias:
      return "attn_output.bias";
    case Role::kQueryNorm:
      return "attn_q_norm.weight";
    case Role::kKeyNorm:
      return "attn_k_norm.weight";
    case Role::kSinks:
      return "attn_sinks.weight";
    case Role::kQueryDown:
      return "attn_q_a.weight";
    case Role::kQueryDownBias:
      return "attn_q_a.bias";
    case Role::kKvDownBias:
      return "attn_kv_a_mqa.bias";
    case Role::kQueryDownNorm:
      return "attn_q_a_norm.weight";
    case Role::kQueryUp:
      return "attn_q_b.weight";
    case Role::kKvDown:
      return "attn_kv_a_mqa.weight";
    case Role::kKvDownNorm:
      return "attn_kv_a_norm.weight";
    case Role::kKeyUp:
      return "attn_k_b.weight";
    case Role::kValueUp:
      return "attn_v_b.weight";
    case Role::kFfnNorm:
      return "ffn_norm.weight";
    case Role::kFfnNormBias:
      return "ffn_norm.bias";
    case Role::kRouter:
      return "ffn_gate_inp.weight";
    case Role::kRouterBias:
      return "ffn_gate_inp.bias";
    case Role::kRouterNoise:
      return "ffn_noise_inp.weight";
    case Role::kExpertBias:
      return "exp_probs_b.bias";
    case Role::kExpertGate:
      return dense ? "ffn_gate.weight" : "ffn_gate_exps.weight";
    case Role::kExpertUp:
      return dense ? "ffn_up.weight" : "ffn_up_exps.weight";
    case Role::kExpertDown:
      return dense ? "ffn_down.weight" : "ffn_down_exps.weight";
    case Role::kExpertGateBias:
      return dense ? "ffn_gate.bias" : "ffn_gate_exps.bias";
    case Role::kExpertUpBias:
      return dense ? "ffn_up.bias" : "ffn_up_exps.bias";
    case Role::kExpertDownBias:
      return dense ? "ffn_down.bias" : "ffn_down_exps.bias";
    case Role::kSharedGate:
      return "ffn_gate_shexp.weight";
    case Role::kSharedUp:
      return "ffn_up_shexp.weight";
    case Role::kSharedDown:
      return "ffn_down_shexp.weight";
    case Role::kSharedGateBias:
      return "ffn_gate_shexp.bias";
    case Role::kSharedUpBias:
      return "ffn_up_shexp.bias";
    case Role::kSharedDownBias:
      return "ffn_down_shexp.bias";
    case Role::kSharedExpertGate:
      return "ffn_gate_inp_shexp.weight";
  }
  return "";
}

bool of_an_expert(Role role) {
  switch (role) {
    case Role::kExpertGate:
    case Role::kExpertUp:
    case Role::kExpertDown:
    case Role::kExpertGateBias:
    case Role::kExpertUpBias:
    case Role::kExpertDownBias:
      return true;
    default:
      return false;
  }
}

// The order of a head's rows where the file keeps rotary pairs as neighbours.
std::vector<std::int32_t> row_order(const ParamSpec& spec, const nn::TransformerConfig& c,
                                    bool pairs) {
  const nn::LatentAttention& latent = c.attention.latent;
  const int rotary = c.rope.rotary_dim > 0 ? c.rope.rotary_dim : c.head_dim;
  switch (spec.id.role) {
    case Role::kQuery:
    case Role::kQueryUp:
    case Role::kQueryBias:
      if (latent.enabled()) return rotary_first(latent.nope_dim, latent.rope_dim, pairs);
      [[fallthrough]];
    case Role::kKey:
    case Role::kKeyBias:
      return pairs ? halves_from_pairs(c.head_dim, rotary) : std::vector<std::int32_t>{};
    case Role::kKvDown:
    case Role::kKvDownBias: {
      if (!pairs) return {};
      std::vector<std::int32_t> order(static_cast<std::size_t>(latent.kv_rank));
      for (int i = 0; i < latent.kv_rank; ++i) order[static_cast<std::size_t>(i)] = i;
      for (const std::int32_t row : halves_from_pairs(latent.rope_dim, latent.rope_dim)) {
        order.push_back(latent.kv_rank + row);
      }
      return order;
    }
    default:
      return {};
  }
}

// q, k and v as rows of one tensor.
std::optional<TensorPlace> in_fused_qkv(const ParamSpec& spec, const nn::TransformerConfig& c,
                                        const std::string& prefix, const StoredNames& names,
                                        bool usual) {
  const std::int64_t q = std::int64_t{c.n_heads} * c.head_dim;
  const std::int64_t kv = std::int64_t{c.n_kv_heads} * c.head_dim;
  const Role role = spec.id.role;
  const bool bias = role == Role::kQueryBias || role == Role::kKeyBias || role == Role::kValueBias;
  std::int64_t first = 0;
  if (role == Role::kKey || role == Role::kKeyBias) {
    first = q;
  } else if (role == Role::kValue || role == Role::kValueBias) {
    first = q + kv;
  } else if (role != Role::kQuery && role != Role::kQueryBias) {
    return {};
  }
  const std::string name = prefix + (bias ? "attn_qkv.bias" : "attn_qkv.weight");
  if ((!usual && !names.has(name)) || c.attention.latent.enabled()) return {};
  if (!bias) return TensorPlace::rows(name, {q + 2 * kv, c.d_model}, first);
  TensorPlace place = TensorPlace::rows(name, {q + 2 * kv}, 0);
  place.offset = first;
  return place;
}

// Keys and values of all heads in one tensor [H (Qn + Qv), R], as older files have them.
TensorPlace in_kv_b(const ParamSpec& spec, const nn::TransformerConfig& c, std::string name) {
  const nn::LatentAttention& m = c.attention.latent;
  const std::int64_t head = m.nope_dim + m.value_dim;
  const bool key = spec.id.role == Role::kKeyUp;
  TensorPlace place = TensorPlace::rows(std::move(name), {c.n_heads * head, m.kv_rank},
                                        spec.id.expert * head + (key ? 0 : m.nope_dim));
  if (key) {  // transposed
    place.row_stride = 1;
    place.col_stride = m.kv_rank;
  }
  return place;
}

// One of the matrices or vectors that are stacked in a tensor.
TensorPlace stacked(std::string name, std::int64_t count, const ParamSpec& spec) {
  std::vector<std::int64_t> dims = {count};
  for (const std::int64_t dim : spec.shape.dims()) dims.push_back(dim);
  const std::int64_t rows = spec.shape.rank() == 1 ? 1 : spec.shape[0];
  return TensorPlace::rows(std::move(name), std::move(dims), spec.id.expert * rows);
}

TensorPlace expert_place(const ParamSpec& spec, const nn::TransformerConfig& c,
                         const std::string& prefix, std::string name, const StoredNames& names) {
  const moe::LayerConfig& ffn = c.ffn_L[static_cast<std::size_t>(spec.id.layer)];
  const std::string fused = prefix + "ffn_gate_up_exps.weight";
  const bool gate = spec.id.role == Role::kExpertGate, up = spec.id.role == Role::kExpertUp;
  if ((gate || up) && !names.has(name) && names.has(fused)) {
    const std::int64_t F = ffn.d_expert;
    return TensorPlace::rows(fused, {ffn.n_experts(), 2 * F, c.d_model},
                             spec.id.expert * 2 * F + (gate ? 0 : F));
  }
  // Early files: one tensor an expert, "ffn_gate.3.weight".
  const std::size_t at = name.find("_exps");
  const std::string single =
      name.substr(0, at) + fmt::format(".{}", spec.id.expert) + name.substr(at + 5);
  if (!names.has(name) && names.has(single)) return TensorPlace::whole(single, spec);
  return stacked(std::move(name), ffn.n_experts(), spec);
}

}  // namespace

TensorPlace gguf_place(const ParamSpec& spec, const nn::TransformerConfig& c,
                       const StoredNames& names) {
  const GgufForm& form = gguf_form_of(c.architecture);
  const ParamId& id = spec.id;
  const bool dense = id.layer >= 0 && c.ffn_L[static_cast<std::size_t>(id.layer)].dense();
  const char* own = form.name == nullptr ? nullptr : form.name(id.role);
  const std::string prefix = id.layer >= 0 ? fmt::format("blk.{}.", id.layer) : "";
  std::string name = prefix + (own != nullptr ? own : usual_name(id.role, dense));

  TensorPlace place;
  if (of_an_expert(id.role) && !dense) return expert_place(spec, c, prefix, std::move(name), names);
  if (id.role == Role::kKeyUp || id.role == Role::kValueUp) {
    const std::string old = prefix + "attn_kv_b.weight";
    if (!names.has(name) && names.has(old)) return in_kv_b(spec, c, old);
    return stacked(std::move(name), c.n_heads, spec);
  }
  if (id.role == Role::kSharedExpertGate) {
    place = TensorPlace::rows(std::move(name), {c.d_model}, 0);
  } else if (auto fused = in_fused_qkv(spec, c, prefix, names, form.fused_qkv);
             fused && !names.has(name)) {
    place = *fused;
  } else {
    place = TensorPlace::whole(std::move(name), spec);
  }
  place.order = row_order(spec, c, form.pairs);
  return place;
}

bool is_gguf_constant(const std::string& name) {
  return name == "rope_freqs.weight" || name == "rope_factors_long.weight" ||
         name == "rope_factors_short.weight";
}

void GgufRows::check(const TensorPlace& place, const ParamSpec& spec,
                     std::set<std::string>& used) const {
  const io::GgufTensor* tensor = source_.find(place.name);
  if (tensor == nullptr) {
    fail(ErrorKind::kNotFound, "{}: tensor '{}' ({}) is missing", path(), place.name,
         describe(spec.id));
  }
  if (tensor->dims != place.dims) {
    fail(ErrorKind::kBadFile, "{}: has shape {}, but the file's keys ask for {}",
         source_.describe(*tensor), tensor->shape_str(),
         Shape(std::span<const std::int64_t>(place.dims)).str());
  }
  if (!tensor->type->quant) {
    fail(ErrorKind::kUnsupported, "{}: its type {} cannot be decoded", source_.describe(*tensor),
         tensor->type->name);
  }
  used.insert(place.name);
}

std::vector<std::string> GgufRows::names() const {
  std::vector<std::string> names;
  for (const io::GgufTensor& tensor : source_.tensors()) names.push_back(tensor.name);
  return names;
}

std::uint64_t GgufRows::stored_bytes() const {
  std::uint64_t bytes = 0;
  for (const io::GgufTensor& tensor : source_.tensors()) bytes += tensor.bytes;
  return bytes;
}

std::set<std::string> GgufRows::stored_types() const {
  std::set<std::string> types;
  for (const io::GgufTensor& tensor : source_.tensors()) {
    if (tensor.dims.size() > 1) types.insert(tensor.type->name);
  }
  return types;
}

QuantType GgufRows::stored_type(const TensorPlace& place) const {
  return *source_.get(place.name).type->quant;
}

void GgufRows::read_rows(const TensorPlace& place, std::int64_t first,
                         MatrixView<float> out) const {
  source_.read_f32_rows(source_.get(place.name), first, out);
}

std::optional<QuantType> GgufRows::block_type(const TensorPlace& place) const {
  return source_.get(place.name).type->quant;
}

void GgufRows::read_blocks(const TensorPlace& place, std::int64_t first, std::int64_t count,
                           std::span<std::byte> out) const {
  const io::GgufTensor& tensor = source_.get(place.name);
  const auto row_bytes =
      static_cast<std::uint64_t>(quant_bytes(*tensor.type->quant, place.dims.back()));
  CONCLAVE_CHECK(out.size() == static_cast<std::uint64_t>(count) * row_bytes);
  source_.read_bytes(tensor, static_cast<std::uint64_t>(first) * row_bytes, out);
}

}  // namespace conclave::models
