// How a matrix product over groups of rows becomes tasks for the threads. Used by matmul.cc, and by
// tests to run every kernel of the list; shapes are checked by the callers.
#pragma once

#include <span>

#include "kernels/matmul/matmul_kernels.h"
#include "ops/context.h"
#include "ops/matmul.h"

namespace conclave::ops {

// y = x B (or +=) for the rows of each group; every B packed for `kernel`.
void multiply_groups(Context& context, const kernels::MatmulKernels& kernel,
                     MatrixView<const float> x, std::span<const std::int32_t> offsets_E1,
                     std::span<const PackedMatrix* const> b, MatrixView<float> y, bool accumulate);

// dw += dy^T x over the rows of each group.
void add_weight_gradients(Context& context, const kernels::MatmulKernels& kernel,
                          MatrixView<const float> dy, MatrixView<const float> x,
                          std::span<const std::int32_t> offsets_E1,
                          std::span<const MatrixView<float>> dw);

}  // namespace conclave::ops
