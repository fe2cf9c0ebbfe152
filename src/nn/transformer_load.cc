// Loading the weights of a model for inference: one copy, in the form that the kernels multiply.
#include <algorithm>

#include "nn/transformer.h"

namespace conclave::nn {
namespace {

bool is_quantised(const WeightSource& source, const ParamSpec& spec) {
  const std::optional<QuantType> type = source.block_type(spec);
  return type && quant_info(*type).block_count > 1;
}

// Stacked weights of equal columns as blocks.
void load_blocks(ops::Context& context, WeightSource& source, std::span<const ParamSpec> parts,
                 ops::PackedMatrix& matrix) {
  std::vector<AlignedBuffer> staging;
  std::vector<ops::BlockRows> rows;
  for (const ParamSpec& part : parts) {
    const QuantType type = *source.block_type(part);
    const auto bytes = static_cast<std::size_t>(part.shape[0] * quant_bytes(type, part.shape[1]));
    staging.emplace_back(bytes);
    source.read_blocks(part, {staging.back().data(), bytes});
    rows.push_back({type, part.shape[0], {staging.back().data(), bytes}});
  }
  matrix.pack_blocks(context, parts[0].shape[1], rows);
}

}  // namespace

void Transformer::load_for_inference(ops::Context& context, WeightSource& source, DType compute) {
  const auto keep = [&](int index) {
    const ParamSpec& spec = specs()[static_cast<std::size_t>(index)];
    owned_.emplace_back(DType::kF32, spec.shape);
    const MatrixView<float> view = owned_.back().matrix<float>();
    source.read(spec, view);
    return view;
  };
  for (const VectorPlace& v : vectors_) {
    std::int64_t count = 0;
    for (int i = 0; i < v.n_parts; ++i) {
      count += specs()[static_cast<std::size_t>(v.first + i)].shape.count();
    }
    owned_.emplace_back(DType::kF32, Shape{count});
    float* to = *v.w = owned_.back().span<float>().data();
    for (int i = 0; i < v.n_parts; ++i) {
      const ParamSpec& spec = specs()[static_cast<std::size_t>(v.first + i)];
      source.read(spec, {to, 1, spec.shape.count()});
      to += spec.shape.count();
    }
  }
  for (int layer = 0; layer < config_.n_layers; ++layer) {
    const int bias = bias_index_L_[static_cast<std::size_t>(layer)];
    if (bias >= 0) blocks_[static_cast<std::size_t>(layer)].ffn.expert_bias_E = keep(bias).data;
  }
  FloatMatrix staging;
  for (const LinearPlace& l : linears_) load_linear(context, source, compute, l, staging);
  if (compute == DType::kF32 || !is_quantised(source, specs()[0])) {
    embedding_ = keep(0);
  } else if (config_.tie_embeddings) {
    quantised_embedding_ = &head_.forward;
  } else {
    load_blocks(context, source, std::span(specs()).first(1), embedding_blocks_);
    quantised_embedding_ = &embedding_blocks_;
  }
}

// One linear map at a time, so that memory stays at one copy.
void Transformer::load_linear(ops::Context& context, WeightSource& source, DType compute,
                              const LinearPlace& l, FloatMatrix& staging) {
  const auto parts = std::span(specs()).subspan(static_cast<std::size_t>(l.first),
                                                static_cast<std::size_t>(l.n_parts));
  const auto quantised = [&](const ParamSpec& spec) { return is_quantised(source, spec); };
  // In f32 everything is as exact as the stored numbers: blocks are decoded.
  const bool as_blocks = !l.full_precision && compute != DType::kF32;
  if (as_blocks && std::ranges::all_of(parts, quantised)) {
    load_blocks(context, source, parts, l.linear->forward);
    return;
  }
  std::int64_t rows = 0;
  for (const ParamSpec& part : parts) rows += part.shape[0];
  const MatrixView<float> whole = staging.resize(rows, parts[0].shape[1]);
  std::int64_t row = 0;
  for (const ParamSpec& part : parts) {
    source.read(part, whole.rows_range(row, part.shape[0]));
    row += part.shape[0];
  }
  l.linear->compute = l.full_precision ? DType::kF32 : compute;
  l.linear->forward.pack(context, whole, l.linear->compute);
}

}  // namespace conclave::nn
