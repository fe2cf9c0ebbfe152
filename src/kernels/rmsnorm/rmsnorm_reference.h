// RMSNorm, plainly: the definition that every kernel is tested against. Real is float or double.
#pragma once

#include <cmath>

#include "kernels/rmsnorm/rmsnorm.h"

namespace conclave::kernels::reference {

template <class Real>
void rmsnorm_forward(const RmsNormForwardOf<Real>& a) noexcept {
  for (std::int64_t t = 0; t < a.rows; ++t) {
    const Real* x = a.x + t * a.x_stride;
    Real* y = a.y + t * a.y_stride;
    Real sum = 0;
    for (std::int64_t i = 0; i < a.width; ++i) sum += x[i] * x[i];
    const Real rstd = Real(1) / std::sqrt(sum / static_cast<Real>(a.width) + a.eps);
    for (std::int64_t i = 0; i < a.width; ++i) y[i] = x[i] * rstd * a.w_D[i];
    if (a.rstd_T != nullptr) a.rstd_T[t] = rstd;
  }
}

template <class Real>
void rmsnorm_backward_input(const RmsNormBackwardOf<Real>& a) noexcept {
  for (std::int64_t t = 0; t < a.rows; ++t) {
    const Real* x = a.x + t * a.x_stride;
    const Real* dy = a.dy + t * a.dy_stride;
    Real* dx = a.dx + t * a.dx_stride;
    const Real rstd = a.rstd_T[t];
    Real dot = 0;
    for (std::int64_t i = 0; i < a.width; ++i) dot += dy[i] * a.w_D[i] * x[i];
    const Real factor = dot * rstd * rstd / static_cast<Real>(a.width);
    for (std::int64_t i = 0; i < a.width; ++i) {
      const Real value = rstd * (dy[i] * a.w_D[i] - x[i] * factor);
      dx[i] = a.add_to_dx ? dx[i] + value : value;
    }
  }
}

template <class Real>
void rmsnorm_backward_weight(const RmsNormBackwardOf<Real>& a) noexcept {
  for (std::int64_t t = 0; t < a.rows; ++t) {
    for (std::int64_t i = 0; i < a.width; ++i) {
      a.dw_D[i] += a.dy[t * a.dy_stride + i] * (a.x[t * a.x_stride + i] * a.rstd_T[t]);
    }
  }
}

}  // namespace conclave::kernels::reference
