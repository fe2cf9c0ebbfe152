// Sums and checks over a vector type V (kernels/simd/simd.h).
#pragma once

#include "kernels/elementwise/elementwise.h"
#include "kernels/simd/simd.h"

namespace conclave::kernels {

template <class V>
struct ElementwiseBody {
  using Vec = typename V::Vec;
  static constexpr int kLanes = V::kLanes;

  static void add(const float* x, float* y, Index n) noexcept {
    Index i = 0;
    for (; i + kLanes <= n; i += kLanes) V::store(y + i, V::load(y + i) + V::load(x + i));
    if (i < n) {
      V::store_first(y + i, V::load_first(y + i, n - i) + V::load_first(x + i, n - i), n - i);
    }
  }

  // Squares of floats are exact in double.
  static double sum_of_squares(const float* x, Index n) noexcept {
    auto s0 = V::wide_zero(), s1 = s0, s2 = s0, s3 = s0;
    Index i = 0;
    for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
      const Vec a = V::load(x + i), b = V::load(x + i + kLanes);
      s0 += V::widen_low(a) * V::widen_low(a);
      s1 += V::widen_high(a) * V::widen_high(a);
      s2 += V::widen_low(b) * V::widen_low(b);
      s3 += V::widen_high(b) * V::widen_high(b);
    }
    for (; i < n; i += kLanes) {
      const Vec a = V::load_first(x + i, n - i);
      s0 += V::widen_low(a) * V::widen_low(a);
      s1 += V::widen_high(a) * V::widen_high(a);
    }
    return V::wide_sum((s0 + s1) + (s2 + s3));
  }

  // 0 * x is NaN where x is not finite, and 0 otherwise.
  static bool all_finite(const float* x, Index n) noexcept {
    const Vec zero = V::set(0.f);
    constexpr Index kBlock = 64 * kLanes;  // stops within a few KiB of a non-finite element
    for (Index begin = 0; begin < n; begin += kBlock) {
      const Index end = begin + kBlock < n ? begin + kBlock : n;
      Vec s0 = zero, s1 = zero;
      Index i = begin;
      for (; i + 2 * kLanes <= end; i += 2 * kLanes) {
        s0 = V::fma(zero, V::load(x + i), s0);
        s1 = V::fma(zero, V::load(x + i + kLanes), s1);
      }
      for (; i < end; i += kLanes) s0 = V::fma(zero, V::load_first(x + i, end - i), s0);
      if (V::sum(s0 + s1) != 0.f) return false;
    }
    return true;
  }

  static void exp(const float* x, float* y, Index n) noexcept {
    for (Index i = 0; i < n; i += kLanes) {
      V::store_first(y + i, kernels::exp<V>(V::load_first(x + i, n - i)), n - i);
    }
  }

  static void exp2(const float* x, float* y, Index n) noexcept {
    for (Index i = 0; i < n; i += kLanes) {
      V::store_first(y + i, kernels::exp2<V>(V::load_first(x + i, n - i)), n - i);
    }
  }

  static constexpr ElementwiseKernel kernel(sys::Isa isa) {
    return {isa, add, sum_of_squares, all_finite, exp, exp2};
  }
};

}  // namespace conclave::kernels
