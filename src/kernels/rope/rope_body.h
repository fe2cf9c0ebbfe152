// Rotary positions over a vector type V (kernels/simd/simd.h).
#pragma once

#include "kernels/rope/rope.h"
#include "kernels/simd/simd.h"

namespace conclave::kernels {

template <class V>
struct RopeBody {
  using Vec = typename V::Vec;

  // sign is 1, or -1 for the inverse: multiplying by it is exact.
  static void turn(float* first, float* second, const float* cosines, const float* sines, Vec sign,
                   Index n) {
    Index i = 0;
    for (; i + V::kLanes <= n; i += V::kLanes) {
      const Vec c = V::load(cosines + i), s = V::load(sines + i) * sign;
      const Vec a = V::load(first + i), b = V::load(second + i);
      V::store(first + i, V::fnma(b, s, a * c));
      V::store(second + i, V::fma(a, s, b * c));
    }
    const Index left = n - i;
    if (left > 0) {
      const Vec c = V::load_first(cosines + i, left), s = V::load_first(sines + i, left) * sign;
      const Vec a = V::load_first(first + i, left), b = V::load_first(second + i, left);
      V::store_first(first + i, V::fnma(b, s, a * c), left);
      V::store_first(second + i, V::fma(a, s, b * c), left);
    }
  }

  static void rotate(const Rope& a) noexcept {
    const Index half = a.rotary_dim / 2;
    const Vec sign = V::set(a.inverse ? -1.f : 1.f);
    for (Index t = 0; t < a.rows; ++t) {
      const float* cosines = a.cos_sin + a.positions_T[t] * 2 * half;
      float* head = a.x + t * a.stride;
      for (int h = 0; h < a.n_heads; ++h, head += a.head_dim) {
        turn(head, head + half, cosines, cosines + half, sign, half);
      }
    }
  }

  static constexpr RopeKernel kernel(sys::Isa isa) { return {isa, rotate}; }
};

}  // namespace conclave::kernels
