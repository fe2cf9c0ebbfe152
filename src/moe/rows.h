// Arithmetic on one row of E numbers, shared by routers and losses (softmax: kernels/softmax).
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

// dz += J^T dp of p = softmax(z): dz_j += p_j (dp_j - <p, dp>).
template <class Real>
void softmax_row_backward(const Real* p, const Real* dp, int n, Real* dz) {
  Real dot = 0;
  for (int i = 0; i < n; ++i) dot += p[i] * dp[i];
  for (int i = 0; i < n; ++i) dz[i] += p[i] * (dp[i] - dot);
}

// Exact in both tails: where exp overflows, 1 / inf is the 0 that it should be.
template <class Real>
Real sigmoid(Real z) {
  return 1 / (1 + std::exp(-z));
}

// sigmoid's value and derivative from one exponential, exact in both tails and without a branch on
// the sign; below -80 both are taken at -80, where they are nothing.
template <class Real>
void sigmoid_and_slope(Real z, Real* value, Real* slope) {
  const Real e = std::exp(-(z > Real(-80) ? z : Real(-80)));
  const Real s = 1 / (1 + e);
  *value = s;
  *slope = e * s * s;
}

// ln(1 + exp(z)), to the absolute rounding of 1.
template <class Real>
Real softplus(Real z) {
  return (z > 0 ? z : Real(0)) + std::log(1 + std::exp(-std::fabs(z)));
}

}  // namespace conclave::moe
