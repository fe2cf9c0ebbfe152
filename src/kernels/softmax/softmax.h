// Softmax of one row, for rows that are short (a router's experts, a sampler's candidates). Real is
// float or double; a result depends on the row alone, and its sums run in index order.
//
// -inf is a probability of 0. A row that holds NaN or +inf, or only -inf, has no softmax: every
// element of the result is then NaN (except the zeros of -inf), and nothing is hidden.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace conclave::kernels {

namespace detail {

template <class Real>
Real maximum(const Real* x, std::int64_t n) {
  constexpr std::int64_t kLanes = 8;  // a maximum has no rounding, so it may be taken in any order
  Real lane[kLanes];
  for (Real& top : lane) top = -std::numeric_limits<Real>::infinity();
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::int64_t j = 0; j < kLanes; ++j) lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
  }
  for (; i < n; ++i) lane[0] = x[i] > lane[0] ? x[i] : lane[0];
  for (std::int64_t j = 1; j < kLanes; ++j) lane[0] = lane[j] > lane[0] ? lane[j] : lane[0];
  return lane[0];
}

}  // namespace detail

// log(sum_i exp(x_i)); -inf for n = 0.
template <class Real>
Real log_sum_exp(const Real* x, std::int64_t n) {
  if (n == 0) return -std::numeric_limits<Real>::infinity();
  const Real top = detail::maximum(x, n);
  Real sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += std::exp(x[i] - top);
  return top + std::log(sum);
}

// y_i = exp(x_i) / sum_j exp(x_j), and returns log_sum_exp(x). x == y is allowed.
template <class Real>
Real softmax(const Real* x, std::int64_t n, Real* y) {
  const Real top = detail::maximum(x, n);
  Real sum = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    y[i] = std::exp(x[i] - top);
    sum += y[i];
  }
  for (std::int64_t i = 0; i < n; ++i) y[i] /= sum;
  return n == 0 ? top : top + std::log(sum);
}

// dx = y * (dy - sum_j y_j dy_j), from the softmax y. dx == dy is allowed.
template <class Real>
void softmax_backward(const Real* y, const Real* dy, std::int64_t n, Real* dx) {
  Real dot = 0;
  for (std::int64_t i = 0; i < n; ++i) dot += y[i] * dy[i];
  for (std::int64_t i = 0; i < n; ++i) dx[i] = y[i] * (dy[i] - dot);
}

}  // namespace conclave::kernels
