// Arithmetic on one row of E numbers, shared by routers and losses. Loops run in blocks of a fixed
// length, so that they are vectorised without any licence to reorder sums.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace conclave::moe {

inline constexpr int kRowBlock = 8;  // two SSE registers of float, one AVX

template <class Real>
bool row_is_finite(const Real* row, int n) {
  constexpr Real kMax = std::numeric_limits<Real>::max();
  unsigned bad[kRowBlock] = {};
  int i = 0;
  for (; i + kRowBlock <= n; i += kRowBlock) {
    for (int j = 0; j < kRowBlock; ++j) bad[j] |= std::fabs(row[i + j]) <= kMax ? 0u : 1u;
  }
  for (; i < n; ++i) bad[0] |= std::fabs(row[i]) <= kMax ? 0u : 1u;
  unsigned any = 0;
  for (int j = 0; j < kRowBlock; ++j) any |= bad[j];
  return any == 0;
}

// The largest element of a row of finite numbers, n >= 1.
template <class Real>
Real row_max(const Real* row, int n) {
  Real lane[kRowBlock];
  for (int j = 0; j < kRowBlock; ++j) lane[j] = row[0];
  int i = 0;
  for (; i + kRowBlock <= n; i += kRowBlock) {
    for (int j = 0; j < kRowBlock; ++j) lane[j] = row[i + j] > lane[j] ? row[i + j] : lane[j];
  }
  for (; i < n; ++i) lane[0] = row[i] > lane[0] ? row[i] : lane[0];
  for (int j = 1; j < kRowBlock; ++j) lane[0] = lane[j] > lane[0] ? lane[j] : lane[0];
  return lane[0];
}

// p = softmax(z) for finite z; returns logsumexp(z). p == z is allowed.
template <class Real>
Real softmax_row(const Real* z, int n, Real* p) {
  const Real top = row_max(z, n);
  Real sum = 0;
  for (int i = 0; i < n; ++i) {
    p[i] = std::exp(z[i] - top);
    sum += p[i];
  }
  const Real inverse = 1 / sum;
  for (int i = 0; i < n; ++i) p[i] *= inverse;
  return top + std::log(sum);
}

// dz += J^T dp of p = softmax(z): dz_j += p_j (dp_j - <p, dp>).
template <class Real>
void softmax_row_backward(const Real* p, const Real* dp, int n, Real* dz) {
  Real dot = 0;
  for (int i = 0; i < n; ++i) dot += p[i] * dp[i];
  for (int i = 0; i < n; ++i) dz[i] += p[i] * (dp[i] - dot);
}

template <class Real>
Real sigmoid(Real z) {
  const Real e = std::exp(-std::fabs(z));
  return z >= 0 ? 1 / (1 + e) : e / (1 + e);
}

// Derivative of sigmoid, exact in both tails.
template <class Real>
Real sigmoid_slope(Real z) {
  const Real e = std::exp(-std::fabs(z));
  return e / ((1 + e) * (1 + e));
}

template <class Real>
Real softplus(Real z) {
  return (z > 0 ? z : Real(0)) + std::log1p(std::exp(-std::fabs(z)));
}

}  // namespace conclave::moe
