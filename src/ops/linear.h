// A linear map y = x W^T with W [N, K] = [out, in]: packed for the forward pass and, in training,
// also for the backward pass. The weight of one or several stacked parameters (q, k, v; gate, up).
#pragma once

#include "ops/matmul.h"
#include "tensor/tensor.h"

namespace conclave::ops {

struct Linear {
  DType compute = DType::kF32;
  MatrixView<float> w;    // f32 master, borrowed; training only (else empty)
  MatrixView<float> dw;   // its gradient, borrowed; training only
  PackedMatrix forward;   // for y = x W^T
  PackedMatrix backward;  // for dx = dy W; training only

  std::int64_t out_features() const { return forward.n(); }
  std::int64_t in_features() const { return forward.k(); }
};

// Packs the master again after the optimiser changed it.
void linear_repack(Context& context, Linear& linear);

// y[T, N] = (or +=) x[T, K] W^T.
void linear_forward(Context& context, const Linear& linear, MatrixView<const float> x,
                    MatrixView<float> y, bool accumulate = false);
// dx[T, K] = dy W (= or +=; skipped where dx is empty), dw += dy^T x.
void linear_backward(Context& context, const Linear& linear, MatrixView<const float> x,
                     MatrixView<const float> dy, MatrixView<float> dx, bool accumulate = false);

}  // namespace conclave::ops
