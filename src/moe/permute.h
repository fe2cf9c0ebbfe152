// Rows to their experts and back: permute copies tokens into expert order, unpermute sums the
// experts' rows of each token with the router's weights. Each is the other's backward:
//
//   permute:    x_ND[n] = x_TD[row_token_N[n]]
//   unpermute:  y_TD[t] = sum_k w_tk y_ND[slot_row_TK[t, k]]
//
// A token's sum runs over its slots 0 .. K-1 in that order, whatever the threads and the batch.
// Threads split tokens or rows. Inputs and outputs must not overlap. Instantiated for float and
// double.
//
// Shape letters: T tokens, D model width, N routed rows, K slots per token.
#pragma once

#include <type_traits>

#include "moe/routing.h"
#include "ops/context.h"
#include "tensor/tensor.h"

namespace conclave::moe {

enum class Write { kAssign, kAdd };

// An input: Real is deduced from the outputs, so that a MatrixView<Real> converts.
template <class Real>
using ConstView = std::type_identity_t<MatrixView<const Real>>;

template <class Real>
void permute_forward(ops::Context& context, ConstView<Real> x_TD, const DispatchPlan& plan,
                     MatrixView<Real> x_ND);

// d_x_TD[t] (=, or += ) the sum of its rows in slot order; 0 for a token without rows.
template <class Real>
void permute_backward(ops::Context& context, ConstView<Real> d_x_ND, const DispatchPlan& plan,
                      MatrixView<Real> d_x_TD, Write write);

template <class Real>
void unpermute_forward(ops::Context& context, ConstView<Real> y_ND, const DispatchPlan& plan,
                       const RoutingDecisionOf<Real>& decision, MatrixView<Real> y_TD, Write write);

// d_y_ND[n] = w_n d_y_TD[token of n]; d_topk_weights_TK[slot] = <d_y_TD[t], y_ND[row of slot]>, 0
// where the slot has no row. Both are assigned. y_ND is the forward pass' input; d_y_ND may be the
// same memory as y_ND.
template <class Real>
void unpermute_backward(ops::Context& context, ConstView<Real> d_y_TD, ConstView<Real> y_ND,
                        const DispatchPlan& plan, const RoutingDecisionOf<Real>& decision,
                        MatrixView<Real> d_y_ND, Real* d_topk_weights_TK);

}  // namespace conclave::moe
