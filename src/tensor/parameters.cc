#include "tensor/parameters.h"

#include "sys/interrupt.h"

namespace conclave {
namespace {

const char* role_name(Role role) {
  switch (role) {
    case Role::kEmbedding:
      return "embedding";
    case Role::kAttnNorm:
      return "attention norm";
    case Role::kQuery:
      return "query";
    case Role::kKey:
      return "key";
    case Role::kValue:
      return "value";
    case Role::kAttnOut:
      return "attention output";
    case Role::kFfnNorm:
      return "ffn norm";
    case Role::kRouter:
      return "router";
    case Role::kRouterNoise:
      return "router noise";
    case Role::kExpertBias:
      return "expert bias";
    case Role::kExpertGate:
      return "w_gate";
    case Role::kExpertUp:
      return "w_up";
    case Role::kExpertDown:
      return "w_down";
    case Role::kSharedGate:
      return "shared w_gate";
    case Role::kSharedUp:
      return "shared w_up";
    case Role::kSharedDown:
      return "shared w_down";
    case Role::kFinalNorm:
      return "final norm";
    case Role::kHead:
      return "output head";
    case Role::kAttnNormBias:
      return "attention norm bias";
    case Role::kQueryBias:
      return "query bias";
    case Role::kKeyBias:
      return "key bias";
    case Role::kValueBias:
      return "value bias";
    case Role::kAttnOutBias:
      return "attention output bias";
    case Role::kQueryNorm:
      return "query norm";
    case Role::kKeyNorm:
      return "key norm";
    case Role::kSinks:
      return "attention sinks";
    case Role::kFfnNormBias:
      return "ffn norm bias";
    case Role::kRouterBias:
      return "router bias";
    case Role::kExpertGateBias:
      return "w_gate bias";
    case Role::kExpertUpBias:
      return "w_up bias";
    case Role::kExpertDownBias:
      return "w_down bias";
    case Role::kSharedGateBias:
      return "shared w_gate bias";
    case Role::kSharedUpBias:
      return "shared w_up bias";
    case Role::kSharedDownBias:
      return "shared w_down bias";
    case Role::kSharedExpertGate:
      return "gate of the shared expert";
    case Role::kFinalNormBias:
      return "final norm bias";
    case Role::kHeadBias:
      return "output head bias";
    case Role::kQueryDown:
      return "query down";
    case Role::kQueryDownBias:
      return "query down bias";
    case Role::kKvDownBias:
      return "key/value down bias";
    case Role::kQueryDownNorm:
      return "query latent norm";
    case Role::kQueryUp:
      return "query up";
    case Role::kKvDown:
      return "key/value down";
    case Role::kKvDownNorm:
      return "key/value latent norm";
    case Role::kKeyUp:
      return "key up";
    case Role::kValueUp:
      return "value up";
  }
  return "weight";
}

// A weight as a matrix: its last dimension is a row.
std::int64_t columns(const Shape& shape) { return shape[shape.rank() - 1]; }

}  // namespace

std::string describe(const ParamId& id) {
  std::string text;
  if (id.layer >= 0) text += fmt::format("layer {}, ", id.layer);
  const bool head = id.role == Role::kKeyUp || id.role == Role::kValueUp;
  if (id.expert >= 0) text += fmt::format("{} {}, ", head ? "head" : "expert", id.expert);
  return text + role_name(id.role);
}

int ParameterSet::add(ParamId id, Shape shape, bool decay, bool trained) {
  CONCLAVE_CHECK(!allocated(), "weights are declared before they are allocated");
  specs_.push_back({id, shape, decay, trained, count_});
  count_ += shape.count();
  return static_cast<int>(specs_.size()) - 1;
}

void ParameterSet::allocate(bool with_gradients) {
  values_ = Tensor(DType::kF32, {count_});
  sys::stop_if_interrupted("taking memory for the weights");
  if (with_gradients) gradients_ = Tensor(DType::kF32, {count_});
}

MatrixView<float> ParameterSet::view(const Tensor& flat, int index, int n_parts) const {
  const ParamSpec& first = specs_[static_cast<std::size_t>(index)];
  const std::int64_t cols = columns(first.shape);
  std::int64_t rows = 0;
  for (int part = 0; part < n_parts; ++part) {
    const ParamSpec& spec = specs_[static_cast<std::size_t>(index + part)];
    CONCLAVE_CHECK(columns(spec.shape) == cols, "stacked weights must have equal columns");
    rows += spec.shape.count() / cols;
  }
  return {flat.span<float>().data() + first.offset, rows, cols};
}

MatrixView<float> ParameterSet::value(int index, int n_parts) const {
  return view(values_, index, n_parts);
}
MatrixView<float> ParameterSet::gradient(int index, int n_parts) const {
  return view(gradients_, index, n_parts);
}

void WeightSource::read_blocks(const ParamSpec& spec, std::span<std::byte>) {
  CONCLAVE_CHECK(false, "{}: its source offers no blocks", describe(spec.id));
}

}  // namespace conclave
