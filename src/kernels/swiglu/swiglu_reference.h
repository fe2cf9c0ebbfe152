// SwiGLU, plainly. Real is float or double.
#pragma once

#include <cmath>

#include "kernels/swiglu/swiglu.h"

namespace conclave::kernels::reference {

template <class Real>
void swiglu_forward(const SwigluOf<Real>& a) noexcept {
  for (std::int64_t r = 0; r < a.rows; ++r) {
    const Real* gate = a.gate_up + r * a.gate_up_stride;
    const Real* up = gate + a.width;
    Real* h = a.h + r * a.h_stride;
    for (std::int64_t i = 0; i < a.width; ++i) {
      h[i] = gate[i] / (Real(1) + std::exp(-gate[i])) * up[i];
    }
  }
}

template <class Real>
void swiglu_backward(const SwigluOf<Real>& a) noexcept {
  for (std::int64_t r = 0; r < a.rows; ++r) {
    const Real* gate = a.gate_up + r * a.gate_up_stride;
    const Real* up = gate + a.width;
    const Real* dh = a.dh + r * a.dh_stride;
    Real* d_gate = a.d_gate_up + r * a.d_gate_up_stride;
    Real* d_up = d_gate + a.width;
    for (std::int64_t i = 0; i < a.width; ++i) {
      const Real g = gate[i];
      const Real u = up[i];
      const Real sigmoid = Real(1) / (Real(1) + std::exp(-g));
      d_gate[i] = dh[i] * u * sigmoid * (Real(1) + g * (Real(1) - sigmoid));
      d_up[i] = dh[i] * g * sigmoid;
    }
  }
}

}  // namespace conclave::kernels::reference
