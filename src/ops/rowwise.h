// Row-wise operations that only inference needs so far: they have no backward pass.
// A row's result depends on that row alone.
//
// Shape letters: T rows, N columns, H heads, Q head width, F expert width.
#pragma once

#include <cstdint>
#include <span>

#include "ops/context.h"
#include "tensor/tensor.h"

namespace conclave::ops {

// x[t] += bias_N.
void add_bias(Context& context, const float* bias_N, MatrixView<float> x);
// y += factor * x.
void add_scaled(Context& context, float factor, MatrixView<const float> x, MatrixView<float> y);
// y[t] += factor_T[t] * x[t].
void add_scaled_rows(Context& context, const float* factor_T, MatrixView<const float> x,
                     MatrixView<float> y);
// x[t] *= factor_T[t].
void scale_rows(Context& context, const float* factor_T, MatrixView<float> x);
// x *= factor.
void scale(Context& context, float factor, MatrixView<float> x);
// x = min(max(x, -limit), limit).
void clamp(Context& context, float limit, MatrixView<float> x);
// x_T[t] = 1 / (1 + exp(-x_T[t])).
void sigmoid_inplace(std::span<float> x_T);

// LayerNorm (Ba et al. 2016, eq. 4): y = (x - mean) / sqrt(var + eps) * w + b, the variance that of
// the population; b_N may be null. x == y is allowed.
void layernorm_forward(Context& context, MatrixView<const float> x, const float* w_N,
                       const float* b_N, float eps, MatrixView<float> y);

// RMSNorm of each of the first `n_heads` heads of width Q of every row, in place; w_Q is shared by
// the heads, null: no weight.
void rmsnorm_heads(Context& context, MatrixView<float> x, int n_heads, int head_dim,
                   const float* w_Q, float eps);

// A learnt logit per head that joins the softmax of attention and takes no value (attention sinks,
// gpt-oss): out[t, h] *= 1 / (1 + exp(sinks_H[h] - lse_TH[t, h])), with lse the logarithm of the
// sum of exponentials without the sink.
void apply_sinks(Context& context, const float* sinks_H, const float* lse_TH, int n_heads,
                 int head_dim, MatrixView<float> out);

// The clamped gated unit of gpt-oss, gate and up being the halves of gate_up[T, 2F]:
//   g = min(gate, limit), u = clamp(up, -limit, limit), h = (u + 1) g sigmoid(1.702 g)
void clamped_swiglu(Context& context, MatrixView<const float> gate_up, float limit,
                    MatrixView<float> h);
// The same on the calling thread.
void clamped_swiglu_rows(MatrixView<const float> gate_up, float limit, MatrixView<float> h);

}  // namespace conclave::ops
