// Loading the weights of a model for inference: one copy, in the form that the kernels multiply.
#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

#include "nn/transformer.h"

namespace conclave::nn {
namespace {

bool is_quantised(const WeightSource& source, const ParamSpec& spec) {
  const std::optional<QuantType> type = source.block_type(spec);
  return type && quant_info(*type).block_count > 1;
}

// Stacked weights of equal columns as blocks; `staging` keeps its memory for the next.
void read_and_pack(WeightSource& source, std::span<const ParamSpec> parts,
                   std::vector<AlignedBuffer>& staging, WeightArena& arena,
                   ops::PackedMatrix& matrix) {
  std::vector<ops::BlockRows> rows;
  if (staging.size() < parts.size()) staging.resize(parts.size());
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const QuantType type = *source.block_type(parts[i]);
    const std::int64_t n = parts[i].shape[0];
    const auto bytes = static_cast<std::size_t>(n * quant_bytes(type, parts[i].shape[1]));
    staging[i].reserve(bytes);
    source.read_blocks(parts[i], {staging[i].data(), bytes});
    rows.push_back({type, n, {staging[i].data(), bytes}});
  }
  matrix.pack_blocks(parts[0].shape[1], rows, &arena);
}

// Runs body(thread, item) for all items on the pool, in their order, and throws what the
// first to fail threw.
template <class Item, class Body>
void run_and_rethrow(ops::Context& context, std::span<const Item> items, const Body& body) {
  std::mutex mutex;
  std::exception_ptr error;
  std::atomic<std::size_t> next{0};
  context.pool.run([&](int thread) {
    try {
      for (std::size_t i; (i = next.fetch_add(1)) < items.size();) body(thread, items[i]);
    } catch (...) {
      next.store(items.size());
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
    }
  });
  if (error) std::rethrow_exception(error);
}

}  // namespace

void Transformer::load_for_inference(ops::Context& context, WeightSource& source, DType compute) {
  compute_ = compute;
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
  // In f32 everything is as exact as the stored numbers: blocks are decoded.
  const bool as_blocks = compute != DType::kF32;
  std::vector<LinearPlace> in_blocks;
  FloatMatrix staging;
  for (const LinearPlace& l : linears_) {
    const auto quantised = [&](const ParamSpec& spec) { return is_quantised(source, spec); };
    if (as_blocks && !l.full_precision && std::ranges::all_of(parts_of(l), quantised)) {
      in_blocks.push_back(l);
    } else {
      load_linear(context, source, compute, l, staging);
    }
  }
  if (!as_blocks || !is_quantised(source, specs()[0])) {
    embedding_ = keep(0);
  } else if (config_.tie_embeddings) {
    quantised_embedding_ = &head_.forward;
  } else {
    in_blocks.push_back({&embedding_blocks_, 0, 1, false});
    quantised_embedding_ = &embedding_blocks_.forward;
  }
  load_blocks(context, source, in_blocks);
}

std::span<const ParamSpec> Transformer::parts_of(const LinearPlace& l) const {
  return std::span(specs()).subspan(static_cast<std::size_t>(l.first),
                                    static_cast<std::size_t>(l.n_parts));
}

// Each thread reads a map and packs it while it is in the caches. Memory stays at one copy, and the
// largest map of each thread.
void Transformer::load_blocks(ops::Context& context, WeightSource& source,
                              std::span<const LinearPlace> places) {
  std::vector<std::vector<AlignedBuffer>> staging(static_cast<std::size_t>(context.pool.size()));
  run_and_rethrow(context, places, [&](int thread, const LinearPlace& l) {
    read_and_pack(source, parts_of(l), staging[static_cast<std::size_t>(thread)], arena_,
                  l.linear->forward);
  });
}

// One map at a time, so that memory stays at one copy.
void Transformer::load_linear(ops::Context& context, WeightSource& source, DType compute,
                              const LinearPlace& l, FloatMatrix& staging) {
  const std::span<const ParamSpec> parts = parts_of(l);
  std::int64_t rows = 0;
  for (const ParamSpec& part : parts) rows += part.shape[0];
  const MatrixView<float> whole = staging.resize(rows, parts[0].shape[1]);
  std::int64_t row = 0;
  for (const ParamSpec& part : parts) {
    source.read(part, whole.rows_range(row, part.shape[0]));
    row += part.shape[0];
  }
  // bf16 would lose three bits of f16.
  const bool f16 = compute == DType::kBF16 && std::ranges::all_of(parts, [&](const ParamSpec& p) {
                     return source.stored_type(p) == QuantType::kF16;
                   });
  l.linear->compute = l.full_precision ? DType::kF32 : f16 ? DType::kF16 : compute;
  l.linear->forward.pack(context, whole, l.linear->compute);
}

}  // namespace conclave::nn
