#include "moe/permute.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace conclave::moe {
namespace {

constexpr std::int64_t kBlock = 16;  // constant length: vectorised; also the lanes of the dot
constexpr std::int64_t kGrain = 16;  // rows a thread takes at least

// y = w x, or y += w x
template <class Real>
void scale_row(const Real* __restrict x, Real w, std::int64_t n, Real* __restrict y) {
  std::int64_t i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    for (std::int64_t j = 0; j < kBlock; ++j) y[i + j] = w * x[i + j];
  }
  for (; i < n; ++i) y[i] = w * x[i];
}

template <class Real>
void add_scaled_row(const Real* __restrict x, Real w, std::int64_t n, Real* __restrict y) {
  std::int64_t i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    for (std::int64_t j = 0; j < kBlock; ++j) y[i + j] += w * x[i + j];
  }
  for (; i < n; ++i) y[i] += w * x[i];
}

template <class Real>
void add_row(const Real* __restrict x, std::int64_t n, Real* __restrict y) {
  std::int64_t i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    for (std::int64_t j = 0; j < kBlock; ++j) y[i + j] += x[i + j];
  }
  for (; i < n; ++i) y[i] += x[i];
}

// <a, b> in kBlock lanes, summed as a tree: one order, whatever the machine.
template <class Real>
Real dot_rows(const Real* __restrict a, const Real* __restrict b, std::int64_t n) {
  Real lane[kBlock] = {};
  std::int64_t i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    for (std::int64_t j = 0; j < kBlock; ++j) lane[j] += a[i + j] * b[i + j];
  }
  for (std::int64_t j = 0; i < n; ++i, ++j) lane[j] += a[i] * b[i];
  for (std::int64_t half = kBlock / 2; half > 0; half /= 2) {
    for (std::int64_t j = 0; j < half; ++j) lane[j] += lane[j + half];
  }
  return lane[0];
}

void check_rows(std::int64_t found, std::int64_t expected, const char* what) {
  CONCLAVE_CHECK(found == expected, "{}: {} rows, expected {}", what, found, expected);
}

// The slots of token t are [t * slots, (t + 1) * slots).
std::int64_t slots_per_token(const DispatchPlan& plan, std::int64_t n_tokens) {
  const auto total = static_cast<std::int64_t>(plan.slot_row_TK.size());
  const std::int64_t slots = n_tokens == 0 ? 0 : total / n_tokens;
  CONCLAVE_CHECK(slots * n_tokens == total, "{} slots for {} tokens", total, n_tokens);
  return slots;
}

}  // namespace

template <class Real>
void permute_forward(ops::Context& context, ConstView<Real> x_TD, const DispatchPlan& plan,
                     MatrixView<Real> x_ND) {
  check_rows(x_ND.rows, plan.n_rows(), "permute_forward");
  slots_per_token(plan, x_TD.rows);
  CONCLAVE_CHECK(x_TD.cols == x_ND.cols);
  const std::size_t bytes = static_cast<std::size_t>(x_TD.cols) * sizeof(Real);
  if (bytes == 0) return;
  context.pool.parallel_for(x_ND.rows, kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      std::memcpy(x_ND.row(n), x_TD.row(plan.row_token_N[static_cast<std::size_t>(n)]), bytes);
    }
  });
}

template <class Real>
void permute_backward(ops::Context& context, ConstView<Real> d_x_ND, const DispatchPlan& plan,
                      MatrixView<Real> d_x_TD, Write write) {
  check_rows(d_x_ND.rows, plan.n_rows(), "permute_backward");
  CONCLAVE_CHECK(d_x_TD.cols == d_x_ND.cols);
  const std::int64_t slots = slots_per_token(plan, d_x_TD.rows);
  const std::int64_t width = d_x_TD.cols;
  context.pool.parallel_for(d_x_TD.rows, kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      Real* const d_x = d_x_TD.row(t);
      bool add = write == Write::kAdd;
      for (std::int64_t slot = t * slots; slot < (t + 1) * slots; ++slot) {
        const std::int32_t row = plan.slot_row_TK[static_cast<std::size_t>(slot)];
        if (row < 0) continue;
        if (add) {
          add_row(d_x_ND.row(row), width, d_x);
        } else {
          std::copy_n(d_x_ND.row(row), width, d_x);
        }
        add = true;
      }
      if (!add) std::fill_n(d_x, width, Real(0));
    }
  });
}

template <class Real>
void unpermute_forward(ops::Context& context, ConstView<Real> y_ND, const DispatchPlan& plan,
                       const RoutingDecisionOf<Real>& decision, MatrixView<Real> y_TD,
                       Write write) {
  check_rows(y_ND.rows, plan.n_rows(), "unpermute_forward");
  check_rows(y_TD.rows, decision.n_tokens, "unpermute_forward");
  CONCLAVE_CHECK(y_TD.cols == y_ND.cols &&
                 plan.slot_row_TK.size() == decision.topk_weights_TK.size());
  const std::int64_t slots = decision.k;
  const std::int64_t width = y_TD.cols;
  context.pool.parallel_for(y_TD.rows, kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      Real* const y = y_TD.row(t);
      bool add = write == Write::kAdd;
      for (std::int64_t slot = t * slots; slot < (t + 1) * slots; ++slot) {
        const std::int32_t row = plan.slot_row_TK[static_cast<std::size_t>(slot)];
        if (row < 0) continue;
        const Real weight = decision.topk_weights_TK[static_cast<std::size_t>(slot)];
        if (add) {
          add_scaled_row(y_ND.row(row), weight, width, y);
        } else {
          scale_row(y_ND.row(row), weight, width, y);
        }
        add = true;
      }
      if (!add) std::fill_n(y, width, Real(0));
    }
  });
}

template <class Real>
void unpermute_backward(ops::Context& context, ConstView<Real> d_y_TD, ConstView<Real> y_ND,
                        const DispatchPlan& plan, const RoutingDecisionOf<Real>& decision,
                        MatrixView<Real> d_y_ND, Real* d_topk_weights_TK) {
  check_rows(y_ND.rows, plan.n_rows(), "unpermute_backward");
  check_rows(d_y_ND.rows, plan.n_rows(), "unpermute_backward");
  check_rows(d_y_TD.rows, decision.n_tokens, "unpermute_backward");
  CONCLAVE_CHECK(d_y_TD.cols == y_ND.cols && d_y_TD.cols == d_y_ND.cols &&
                 plan.slot_row_TK.size() == decision.topk_weights_TK.size());
  const std::int64_t slots = decision.k;
  const std::int64_t width = d_y_TD.cols;
  context.pool.parallel_for(d_y_TD.rows, kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t slot = begin * slots; slot < end * slots; ++slot) {
      const std::int32_t row = plan.slot_row_TK[static_cast<std::size_t>(slot)];
      if (row < 0) {
        d_topk_weights_TK[slot] = 0;
        continue;
      }
      const Real* const d_y = d_y_TD.row(slot / slots);
      d_topk_weights_TK[slot] = dot_rows(d_y, y_ND.row(row), width);
      scale_row(d_y, decision.topk_weights_TK[static_cast<std::size_t>(slot)], width,
                d_y_ND.row(row));
    }
  });
}

#define CONCLAVE_INSTANTIATE(Real)                                                          \
  template void permute_forward(ops::Context&, ConstView<Real>, const DispatchPlan&,        \
                                MatrixView<Real>);                                          \
  template void permute_backward(ops::Context&, ConstView<Real>, const DispatchPlan&,       \
                                 MatrixView<Real>, Write);                                  \
  template void unpermute_forward(ops::Context&, ConstView<Real>, const DispatchPlan&,      \
                                  const RoutingDecisionOf<Real>&, MatrixView<Real>, Write); \
  template void unpermute_backward(ops::Context&, ConstView<Real>, ConstView<Real>,         \
                                   const DispatchPlan&, const RoutingDecisionOf<Real>&,     \
                                   MatrixView<Real>, Real*);
CONCLAVE_INSTANTIATE(float)
CONCLAVE_INSTANTIATE(double)
#undef CONCLAVE_INSTANTIATE

}  // namespace conclave::moe
