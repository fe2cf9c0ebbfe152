// Rotary positions, plainly. Real is float or double.
#pragma once

#include "kernels/rope/rope.h"

namespace conclave::kernels::reference {

template <class Real>
void rope_rotate(const RopeOf<Real>& a) noexcept {
  const std::int64_t half = a.rotary_dim / 2;
  for (std::int64_t t = 0; t < a.rows; ++t) {
    const Real* cosines = a.cos_sin + a.positions_T[t] * 2 * half;
    const Real* sines = cosines + half;
    for (int h = 0; h < a.n_heads; ++h) {
      Real* x = a.x + t * a.stride + static_cast<std::int64_t>(h) * a.head_dim;
      for (std::int64_t i = 0; i < half; ++i) {
        const Real sine = a.inverse ? -sines[i] : sines[i];
        const Real first = x[i];
        const Real second = x[i + half];
        x[i] = first * cosines[i] - second * sine;
        x[i + half] = second * cosines[i] + first * sine;
      }
    }
  }
}

}  // namespace conclave::kernels::reference
