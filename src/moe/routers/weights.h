// Weights from selected logits: softmax over the chosen experts alone. In real arithmetic this is
// softmax over all experts, top-k, then division by the sum; here it never divides by a sum that
// has underflowed (a selection bias may choose improbable experts).
#pragma once

#include <cmath>
#include <cstdint>

namespace conclave::moe {

// w_K = scale * softmax(z[ids_K]) for finite z, k >= 1.
template <class Real>
void selected_softmax(const Real* z_E, const std::int32_t* ids_K, int k, Real scale, Real* w_K) {
  Real top = z_E[ids_K[0]];
  for (int i = 1; i < k; ++i) top = z_E[ids_K[i]] > top ? z_E[ids_K[i]] : top;
  Real sum = 0;
  for (int i = 0; i < k; ++i) {
    w_K[i] = std::exp(z_E[ids_K[i]] - top);
    sum += w_K[i];
  }
  const Real factor = scale / sum;
  for (int i = 0; i < k; ++i) w_K[i] *= factor;
}

// dz[ids_K[j]] += w_j (dw_j - <w, dw> / scale); nothing outside the selection.
template <class Real>
void selected_softmax_backward(const Real* w_K, const Real* dw_K, const std::int32_t* ids_K, int k,
                               Real scale, Real* dz_E) {
  Real dot = 0;
  for (int i = 0; i < k; ++i) dot += w_K[i] * dw_K[i];
  dot /= scale;
  for (int i = 0; i < k; ++i) dz_E[ids_K[i]] += w_K[i] * (dw_K[i] - dot);
}

}  // namespace conclave::moe
