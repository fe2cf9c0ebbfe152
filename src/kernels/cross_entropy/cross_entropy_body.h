// Cross-entropy over a vector type V (kernels/simd/simd.h): one pass for the maximum, one for the
// exponentials, one for the gradient. A row of 8192 logits is 32 KiB, so the later passes read the
// first or second cache.
#pragma once

#include <math.h>

#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/simd/simd.h"

namespace conclave::kernels {

template <class V>
struct CrossEntropyBody {
  using Vec = typename V::Vec;
  static constexpr int kLanes = V::kLanes;

  static float maximum(const float* x, Index n) {
    const Vec lowest = V::set(-HUGE_VALF);
    Vec top[4] = {lowest, lowest, lowest, lowest};
    Index i = 0;
    for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) top[c] = V::max(V::load(x + i + c * kLanes), top[c]);
    }
    for (; i < n; i += kLanes) {
      top[0] = V::max(V::keep(V::load_first(x + i, n - i), 0, n - i, lowest), top[0]);
    }
    return V::top(V::max(V::max(top[0], top[1]), V::max(top[2], top[3])));
  }

  // sum_i exp(x_i - top), the exponentials written to e where it is not null (e may be x). The
  // four partial sums of both callers are the same, so their results are.
  template <bool kStore>
  static float sum_exp(const float* x, Index n, float top, float* e) {
    const Vec shift = V::set(top);
    Vec sum[4] = {V::set(0.f), V::set(0.f), V::set(0.f), V::set(0.f)};
    Index i = 0;
    for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) {
        const Vec p = exp<V>(V::load(x + i + c * kLanes) - shift);
        if constexpr (kStore) V::store(e + i + c * kLanes, p);
        sum[c] = sum[c] + p;
      }
    }
    for (; i < n; i += kLanes) {
      const Vec p = exp<V>(V::load_first(x + i, n - i) - shift);
      if constexpr (kStore) V::store_first(e + i, p, n - i);
      sum[0] = sum[0] + V::keep(p, 0, n - i, V::set(0.f));
    }
    return V::sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
  }

  static float forward(const float* x_V, Index vocabulary, Index target) noexcept {
    const float top = maximum(x_V, vocabulary);
    return top + ::logf(sum_exp<false>(x_V, vocabulary, top, nullptr)) - x_V[target];
  }

  static float forward_backward(float* x_V, Index vocabulary, Index target, float scale) noexcept {
    const float top = maximum(x_V, vocabulary);
    const float target_logit = x_V[target];
    const float sum = sum_exp<true>(x_V, vocabulary, top, x_V);
    const float factor = scale / sum;
    Index i = 0;
    for (; i + kLanes <= vocabulary; i += kLanes) {
      V::store(x_V + i, V::load(x_V + i) * V::set(factor));
    }
    const Index left = vocabulary - i;
    if (left > 0) V::store_first(x_V + i, V::load_first(x_V + i, left) * V::set(factor), left);
    x_V[target] -= scale;
    return top + ::logf(sum) - target_logit;
  }

  static constexpr CrossEntropyKernel kernel(sys::Isa isa) {
    return {isa, forward, forward_backward};
  }
};

}  // namespace conclave::kernels
