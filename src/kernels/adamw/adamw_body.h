// AdamW over a vector type V (kernels/simd/simd.h): 16 bytes read and 12 written an element, so
// memory sets the pace.
#pragma once

#include <math.h>

#include "kernels/adamw/adamw.h"
#include "kernels/simd/simd.h"

namespace conclave::kernels {

template <class V>
struct AdamWBody {
  using Vec = typename V::Vec;

  struct Constants {
    Vec decay, step_size, root_correction2, one_minus_beta1, one_minus_beta2, beta2, eps,
        grad_scale;
  };
  struct State {
    Vec w, m, v;
  };

  static State update(State s, Vec grad, const Constants& c) {
    const Vec g = grad * c.grad_scale;
    s.m = V::fma(g - s.m, c.one_minus_beta1, s.m);
    s.v = V::fma(c.one_minus_beta2 * g, g, s.v * c.beta2);
    const Vec denominator = V::sqrt(s.v) / c.root_correction2 + c.eps;
    s.w = V::fnma(c.step_size, s.m / denominator, s.w * c.decay);
    return s;
  }

  static void step(const AdamWArrays& a, const AdamWStep& s) noexcept {
    const auto constant = [](double x) { return V::set(static_cast<float>(x)); };
    const Constants c = {constant(1 - s.lr * s.weight_decay),
                         constant(s.lr / s.bias_correction1),
                         constant(::sqrt(s.bias_correction2)),
                         constant(1 - s.beta1),
                         constant(1 - s.beta2),
                         constant(s.beta2),
                         constant(s.eps),
                         constant(s.grad_scale)};
    Index i = 0;
    for (; i + V::kLanes <= a.count; i += V::kLanes) {
      const State n =
          update({V::load(a.w + i), V::load(a.m + i), V::load(a.v + i)}, V::load(a.grad + i), c);
      V::store(a.w + i, n.w);
      V::store(a.m + i, n.m);
      V::store(a.v + i, n.v);
    }
    const Index left = a.count - i;
    if (left > 0) {
      const State n = update({V::load_first(a.w + i, left), V::load_first(a.m + i, left),
                              V::load_first(a.v + i, left)},
                             V::load_first(a.grad + i, left), c);
      V::store_first(a.w + i, n.w, left);
      V::store_first(a.m + i, n.m, left);
      V::store_first(a.v + i, n.v, left);
    }
  }

  static constexpr AdamWKernel kernel(sys::Isa isa) { return {isa, step}; }
};

}  // namespace conclave::kernels
