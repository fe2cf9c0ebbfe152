// Matrix products of training and inference, dense and grouped by expert, over packed weights.
//
// Weights W are [N, K] = [out, in], as Hugging Face stores them; y = x W^T. A weight is packed once
// per optimiser step (or once at load) and used many times. Compute type kF32 multiplies in f32;
// kBF16 rounds both operands to bf16 and accumulates in f32; kF16 rounds the weights alone, to f16,
// and multiplies in f32 (inference only). Activations are f32 in memory.
// Inference may keep a weight in blocks of a quantised type: pack_blocks, and the numerics of
// kernels/qmatmul/qmatmul_kernels.h. Every function that multiplies takes either.
//
// Same bits: an output element is accumulated over its K products in one fixed order that depends
// on K and the compute type alone, never on the number of rows, their position, the grouping or
// the threads. So a row alone, in a batch, or in an expert's group gives identical bits.
//
// Shape letters: M rows, N out features, K in features, E experts, R routed rows.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "ops/context.h"
#include "tensor/quant_types.h"
#include "tensor/tensor.h"
#include "tensor/weight_arena.h"

namespace conclave::kernels {
struct MatmulKernels;
struct QuantKernels;
}  // namespace conclave::kernels

namespace conclave::ops {

// Rows of a weight stored as blocks of a quantised type along K.
struct BlockRows {
  QuantType type = QuantType::kF32;  // not a float type
  std::int64_t n = 0;
  std::span<const std::byte> bytes;  // n x quant_bytes(type, k)
};

// One right-hand operand in the layout that the running instruction set multiplies fastest.
// `n` output columns and `k` products each: for the forward pass (n, k) = (N, K); packed with
// `transposed` it serves dx = dy W, and then (n, k) = (K, N).
class PackedMatrix {
 public:
  // Packs W [N, K] (any row stride) for y = x W^T, or with `transposed` for y = x W. Splits the
  // work over the pool. Reuses the memory of an earlier packing of the same size.
  void pack(Context& context, MatrixView<const float> w, DType compute, bool transposed = false);
  // The same from a bf16 matrix; bf16 compute packs without any rounding.
  void pack(Context& context, MatrixView<const bf16> w, DType compute, bool transposed = false);

  // The same for one kernel of the list instead of the best: for tests and benchmarks.
  void pack_for(Context& context, const kernels::MatmulKernels& kernel, MatrixView<const float> w,
                bool transposed = false);

  // W from weights of K = k stacked row upon row, each in its own type (q, k, v of a file may
  // differ). Keeps the bits and the size of the blocks, and copies them: into `arena`, which must
  // outlive the matrix, or into memory of its own. Without a context the calling thread does it.
  void pack_blocks(Context& context, std::int64_t k, std::span<const BlockRows> parts,
                   WeightArena* arena = nullptr);
  void pack_blocks(std::int64_t k, std::span<const BlockRows> parts, WeightArena* arena = nullptr);

  std::int64_t n() const { return n_; }
  std::int64_t k() const { return k_; }
  DType compute() const;

  // The stacked parts of a quantised matrix; empty otherwise.
  struct QuantPart {
    QuantType type;
    std::int64_t column, n;  // columns of y
    std::byte* panels;
  };
  std::span<const QuantPart> quant_parts() const { return parts_; }
  bool packed() const { return kernel_ != nullptr || !parts_.empty(); }
  // Row i of a quantised W in f32, k numbers.
  void decode_row(std::int64_t i, float* out) const;
  // Whose layout this is; null before the first packing and for quantised matrices.
  const kernels::MatmulKernels* kernel() const { return kernel_; }
  std::size_t bytes() const { return parts_.empty() ? buffer_.size() : quant_size_; }
  const std::byte* data() const { return buffer_.data(); }

 private:
  void resize(const kernels::MatmulKernels& kernel, std::int64_t n, std::int64_t k);

  const kernels::MatmulKernels* kernel_ = nullptr;
  std::int64_t n_ = 0;
  std::int64_t k_ = 0;
  // Describes the parts and takes memory for them.
  void place_blocks(std::int64_t k, std::span<const BlockRows> parts, WeightArena* arena);

  AlignedBuffer buffer_;
  std::vector<QuantPart> parts_;
  std::size_t quant_size_ = 0;
};

// y[M, n] = x[M, k] B, or += with `accumulate`. x and y must not overlap.
void matmul(Context& context, MatrixView<const float> x, const PackedMatrix& b, MatrixView<float> y,
            bool accumulate = false);

// dw[N, K] += dy[M, N]^T x[M, K], the sum over rows taken in row order.
void matmul_grad_weight(Context& context, MatrixView<const float> dy, MatrixView<const float> x,
                        DType compute, MatrixView<float> dw);

// The same over experts: rows expert_offsets_E1[e] .. expert_offsets_E1[e+1]-1 of x and y belong to
// expert e and use b[e] (all with equal n and k; entries of empty groups may be null). One parallel
// region where all are quantised, of any types, or all of one compute type; otherwise one for each
// expert. expert_offsets_E1 has E+1 entries, starts at 0, never falls and ends at R.
void grouped_matmul(Context& context, MatrixView<const float> x,
                    std::span<const std::int32_t> expert_offsets_E1,
                    std::span<const PackedMatrix* const> b, MatrixView<float> y);

// h = unit(x B), B = [gate | up] of 2F columns: the first half of an expert's FFN in one parallel
// region, without x or x B in the order of experts. Row i of the groups is row rows_N[i] of x, or
// row i where rows_N is empty. `unit` is called on the threads, for parts of the result: group,
// first column c, gate_up [rows, 2n] = [gate c .. c+n-1 | up c .. c+n-1] -> h [rows, n].
using GatedUnit = std::function<void(std::size_t group, std::int64_t column,
                                     MatrixView<float> gate_up, MatrixView<float> h)>;
// Whether all are quantised, with gate and up in whole panels; null ones are passed over.
bool can_multiply_gated(std::span<const PackedMatrix* const> b);
void grouped_matmul_gated(Context& context, MatrixView<const float> x,
                          std::span<const std::int32_t> rows_N,
                          std::span<const std::int32_t> expert_offsets_E1,
                          std::span<const PackedMatrix* const> b, const GatedUnit& unit,
                          MatrixView<float> h);

// dw[e][N, K] += dy[rows of e]^T x[rows of e] for every expert with rows.
void grouped_matmul_grad_weight(Context& context, MatrixView<const float> dy,
                                MatrixView<const float> x,
                                std::span<const std::int32_t> expert_offsets_E1, DType compute,
                                std::span<const MatrixView<float>> dw);

}  // namespace conclave::ops
