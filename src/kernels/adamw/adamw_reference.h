// AdamW, plainly. Real is float or double.
#pragma once

#include <cmath>

#include "kernels/adamw/adamw.h"

namespace conclave::kernels::reference {

template <class Real>
void adamw_step(const AdamWArraysOf<Real>& a, const AdamWStep& s) noexcept {
  const Real decay = static_cast<Real>(1 - s.lr * s.weight_decay);
  const Real step_size = static_cast<Real>(s.lr / s.bias_correction1);
  const Real root_correction2 = static_cast<Real>(std::sqrt(s.bias_correction2));
  const Real one_minus_beta1 = static_cast<Real>(1 - s.beta1);
  const Real one_minus_beta2 = static_cast<Real>(1 - s.beta2);
  const Real beta2 = static_cast<Real>(s.beta2);
  const Real eps = static_cast<Real>(s.eps);
  const Real grad_scale = static_cast<Real>(s.grad_scale);
  for (std::int64_t i = 0; i < a.count; ++i) {
    const Real g = a.grad[i] * grad_scale;
    const Real m = a.m[i] + (g - a.m[i]) * one_minus_beta1;
    const Real v = a.v[i] * beta2 + one_minus_beta2 * g * g;
    a.m[i] = m;
    a.v[i] = v;
    a.w[i] = a.w[i] * decay - step_size * (m / (std::sqrt(v) / root_correction2 + eps));
  }
}

}  // namespace conclave::kernels::reference
