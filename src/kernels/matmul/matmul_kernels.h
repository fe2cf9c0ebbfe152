// Matrix product kernels: packing of both operands and the product of packed blocks. The one list
// of kernels in matmul_kernels.cc is what run-time choice, tests and benchmarks are made from.
//
// Y[M, N] = L[M, K] R[K, N], all sums in f32 in the order of k, one accumulator an element,
// whatever the block, so an element's bits depend on its K products alone.
//
// Layouts. K is cut into units of `unit` consecutive k (zero-padded): one f32, or for the bf16 dot
// product instruction a pair. U = ceil(K / unit).
//   left tile    m <= `rows` rows: [U][m]
//   right panel  `panel` columns, zero-padded: [U][panel]; panels follow each other
// With bf16 compute both operands are rounded to bf16 while they are packed. Instruction sets
// without a bf16 product hold the rounded left operand as f32 and widen the right one as they go.
// With f16 compute the right operand is held in f16 and widened, and the left one is f32.
//
// All functions are single-threaded, allocate nothing and read and write exactly the elements
// named, except that packing a left tile may write up to kLeftSlack bytes behind it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/dtype.h"
#include "sys/cpu.h"

namespace conclave::kernels {

// y[rows, n] = left * right, or += : the sum over k is then taken from zero and added once.
struct MatmulTile {
  const void* left;   // packed tile of 1 <= rows <= kernel.rows
  const void* right;  // packed panels, at least n columns
  std::int64_t units;
  std::int64_t rows;
  std::int64_t n;
  float* y;  // must not overlap the operands
  std::int64_t y_stride;
  bool accumulate;
  // Memory that is needed next, to be fetched into the second level cache meanwhile: about
  // `ahead_lines` cache lines, `ahead_step` bytes apart. May be nothing, and need not be valid.
  const void* ahead = nullptr;
  std::int64_t ahead_step = 0;
  std::int64_t ahead_lines = 0;
};

// `count` rows (or columns) of the operand in `source`, row stride `stride`, with `k` products.
template <class T>
using MatmulPack = void (*)(const T* source, std::int64_t stride, std::int64_t count,
                            std::int64_t k, void* packed) noexcept;

struct MatmulKernels {
  sys::Isa isa;
  DType compute;
  int rows;         // most rows of a left tile
  int panel;        // columns of a right panel
  int unit;         // consecutive k in a unit
  int left_bytes;   // of a unit of one row
  int right_bytes;  // of a unit of one column

  // A left tile of 1 <= count <= rows rows. `by_rows`: source[count][k]; `by_columns`:
  // source[k][count].
  MatmulPack<float> left_by_rows;
  MatmulPack<float> left_by_columns;
  // One right panel of count <= panel columns. `by_rows`: source[count][k], a weight for y = x W^T;
  // `by_columns`: source[k][count].
  MatmulPack<float> right_by_rows;
  MatmulPack<float> right_by_columns;
  MatmulPack<bf16> right_by_rows_bf16;
  MatmulPack<bf16> right_by_columns_bf16;

  void (*product)(const MatmulTile& tile) noexcept;

  std::int64_t units(std::int64_t k) const { return (k + unit - 1) / unit; }
  std::int64_t panels(std::int64_t n) const { return (n + panel - 1) / panel; }
  std::int64_t left_size(std::int64_t m, std::int64_t k) const {
    return m * units(k) * left_bytes + kLeftSlack;
  }
  std::int64_t panel_size(std::int64_t k) const { return units(k) * panel * right_bytes; }

  static constexpr std::int64_t kLeftSlack = 64;  // one vector
};

// Every kernel this build has; the machine may lack the instruction set of some.
std::span<const MatmulKernels* const> all_matmul_kernels();

// The best kernel for `compute` (kF32, kBF16 or kF16) that needs no more than `isa`.
const MatmulKernels& matmul_kernels(sys::Isa isa, DType compute);

}  // namespace conclave::kernels
