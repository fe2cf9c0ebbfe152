// Operations that work row by row: norms, rotary positions, SwiGLU, embedding, residual sums, loss.
// Forward and backward are pairs. Gradients of activations are assigned (=); gradients of
// parameters accumulate (+=), always in row order, whatever the number of threads.
//
// Shape letters: T tokens, D model width, F expert width, H heads, Q head width, V vocabulary.
#pragma once

#include <cstdint>
#include <span>

#include "ops/context.h"
#include "ops/matmul.h"
#include "tensor/tensor.h"

namespace conclave::ops {

// RMSNorm (Zhang & Sennrich 2019, eq. 4): y = x * r * w with r = 1/sqrt(mean(x^2) + eps).
// rstd_T, when not null, receives r for the backward pass. x == y is allowed.
void rmsnorm_forward(Context& context, MatrixView<const float> x, const float* w_D, float eps,
                     MatrixView<float> y, float* rstd_T);
// dx (=, or += with add_to_dx, as a residual stream needs), dw_D (+=).
void rmsnorm_backward(Context& context, MatrixView<const float> x, const float* w_D,
                      const float* rstd_T, MatrixView<const float> dy, MatrixView<float> dx,
                      bool add_to_dx, float* dw_D);

// Rotary positions (Su et al. 2021, eq. 34), rotate-half pairing (i, i + Q/2), on the first
// `n_heads` heads of width Q of every row, in place. cos and sin come from a table made by
// rope_table; positions_T indexes it. `inverse` rotates back: that is the backward pass.
struct RopeTable {
  std::int64_t positions = 0;
  int rotary_dim = 0;              // even, <= Q; further elements pass through
  std::span<const float> cos_sin;  // [positions][2][rotary_dim / 2]: cosines, then sines
};
void rope_inplace(Context& context, MatrixView<float> x, int n_heads, int head_dim,
                  const RopeTable& table, std::span<const std::int32_t> positions_T, bool inverse);

// SwiGLU (Shazeer 2020, eq. 5): h[R, F] = silu(gate) * up, gate and up being the two halves of
// gate_up[R, 2F] (gate first).
void swiglu_forward(Context& context, MatrixView<const float> gate_up, MatrixView<float> h);
// The same on the calling thread.
void swiglu_rows(MatrixView<const float> gate_up, MatrixView<float> h);
void swiglu_backward(Context& context, MatrixView<const float> gate_up, MatrixView<const float> dh,
                     MatrixView<float> d_gate_up);

// x[T, D] = table[ids_T]. Ids must be within the table (checked, Error(kInvalidArgument)).
void embedding_forward(Context& context, MatrixView<const float> table,
                       std::span<const std::int32_t> ids_T, MatrixView<float> x);
// The same from a table in blocks of a quantised type: rows are decoded as they are taken.
void embedding_forward(Context& context, const PackedMatrix& table,
                       std::span<const std::int32_t> ids_T, MatrixView<float> x);
// d_table[id] += dx[t], in token order for each id; threads own columns.
void embedding_backward(Context& context, std::span<const std::int32_t> ids_T,
                        MatrixView<const float> dx, MatrixView<float> d_table);

// y += x, element by element.
void add_inplace(Context& context, MatrixView<const float> x, MatrixView<float> y);

// Cross-entropy of next-token prediction. For every row t with targets_T[t] >= 0:
// nll_T[t] = logsumexp(logits[t]) - logits[t, target]; rows with target -1 get nll 0.
void cross_entropy_forward(Context& context, MatrixView<const float> logits,
                           std::span<const std::int32_t> targets_T, float* nll_T);
// In place: logits[t] becomes d_nll_T_scale * (softmax(logits[t]) - onehot(target)), 0 where the
// target is -1; also fills nll_T as the forward pass does (one read of the logits serves both).
void cross_entropy_forward_backward(Context& context, MatrixView<float> logits,
                                    std::span<const std::int32_t> targets_T, float scale,
                                    float* nll_T);

}  // namespace conclave::ops
