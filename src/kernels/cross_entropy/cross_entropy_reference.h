// Cross-entropy, plainly. Real is float or double.
#pragma once

#include <cmath>

#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/softmax/softmax.h"

namespace conclave::kernels::reference {

template <class Real>
Real cross_entropy_forward(const Real* x_V, std::int64_t vocabulary, std::int64_t target) noexcept {
  return log_sum_exp(x_V, vocabulary) - x_V[target];
}

template <class Real>
Real cross_entropy_forward_backward(Real* x_V, std::int64_t vocabulary, std::int64_t target,
                                    Real scale) noexcept {
  const Real nll = cross_entropy_forward(x_V, vocabulary, target);
  softmax(x_V, vocabulary, x_V);
  for (std::int64_t i = 0; i < vocabulary; ++i) x_V[i] *= scale;
  x_V[target] -= scale;
  return nll;
}

}  // namespace conclave::kernels::reference
