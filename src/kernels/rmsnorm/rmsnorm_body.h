// RMSNorm over a vector type V (kernels/simd/simd.h). One pass for the sum, one for the output; the
// row stays in the first cache between them.
#pragma once

#include <math.h>

#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/simd/simd.h"

namespace conclave::kernels {

// sum_i product(load(i)) over n elements; `product` maps a loader of vectors to one vector. Four
// partial sums hide the latency of the add; their order depends on n alone.
template <class V, class Product>
inline float sum_products(Index n, const Product& product) {
  constexpr int kLanes = V::kLanes;
  const auto whole = [](const float* p) { return V::load(p); };
  typename V::Vec s0 = V::set(0.f), s1 = s0, s2 = s0, s3 = s0;
  Index i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    s0 = product(i, s0, whole);
    s1 = product(i + kLanes, s1, whole);
    s2 = product(i + 2 * kLanes, s2, whole);
    s3 = product(i + 3 * kLanes, s3, whole);
  }
  for (; i + kLanes <= n; i += kLanes) s0 = product(i, s0, whole);
  if (i < n) s1 = product(i, s1, [&](const float* p) { return V::load_first(p, n - i); });
  return V::sum((s0 + s1) + (s2 + s3));
}

template <class V>
struct RmsNormBody {
  using Vec = typename V::Vec;

  static void forward(const RmsNormForward& a) noexcept {
    for (Index t = 0; t < a.rows; ++t) {
      const float* x = a.x + t * a.x_stride;
      const float squares = sum_products<V>(a.width, [&](Index i, Vec sum, const auto& load) {
        const Vec v = load(x + i);
        return V::fma(v, v, sum);
      });
      const float rstd = 1.f / ::sqrtf(squares / static_cast<float>(a.width) + a.eps);
      scale_row(x, a.w_D, rstd, a.width, a.y + t * a.y_stride);
      if (a.rstd_T != nullptr) a.rstd_T[t] = rstd;
    }
  }

  static void scale_row(const float* x, const float* w, float rstd, Index n, float* y) {
    const Vec r = V::set(rstd);
    Index i = 0;
    for (; i + V::kLanes <= n; i += V::kLanes) V::store(y + i, V::load(x + i) * r * V::load(w + i));
    if (i < n) {
      V::store_first(y + i, V::load_first(x + i, n - i) * r * V::load_first(w + i, n - i), n - i);
    }
  }

  static void backward_input(const RmsNormBackward& a) noexcept {
    for (Index t = 0; t < a.rows; ++t) {
      const float* x = a.x + t * a.x_stride;
      const float* dy = a.dy + t * a.dy_stride;
      const float rstd = a.rstd_T[t];
      const float dot = sum_products<V>(a.width, [&](Index i, Vec sum, const auto& load) {
        return V::fma(load(dy + i) * load(a.w_D + i), load(x + i), sum);
      });
      const float factor = dot * rstd * rstd / static_cast<float>(a.width);
      input_row(a, x, dy, rstd, factor, a.dx + t * a.dx_stride);
    }
  }

  // dx = rstd * (dy * w - x * factor), added or assigned.
  static void input_row(const RmsNormBackward& a, const float* x, const float* dy, float rstd,
                        float factor, float* dx) {
    const Vec r = V::set(rstd);
    const Vec f = V::set(factor);
    const auto value = [&](Vec vx, Vec vdy, Vec vw) { return r * V::fnma(vx, f, vdy * vw); };
    Index i = 0;
    for (; i + V::kLanes <= a.width; i += V::kLanes) {
      const Vec v = value(V::load(x + i), V::load(dy + i), V::load(a.w_D + i));
      V::store(dx + i, a.add_to_dx ? V::load(dx + i) + v : v);
    }
    const Index left = a.width - i;
    if (left > 0) {
      const Vec v = value(V::load_first(x + i, left), V::load_first(dy + i, left),
                          V::load_first(a.w_D + i, left));
      V::store_first(dx + i, a.add_to_dx ? V::load_first(dx + i, left) + v : v, left);
    }
  }

  // 64 rows at a time, so that the strips of columns find them in the second cache.
  static void backward_weight(const RmsNormBackward& a) noexcept {
    constexpr int kStrip = 4 * V::kLanes;
    constexpr Index kPanel = 64;
    for (Index t = 0; t < a.rows; t += kPanel) {
      const Index end = t + kPanel < a.rows ? t + kPanel : a.rows;
      Index i = 0;
      for (; i + kStrip <= a.width; i += kStrip) weight_strip(a, t, end, i);
      for (; i < a.width; i += V::kLanes) weight_vector(a, t, end, i);
    }
  }

  // Four vectors of columns from column i on, over rows t .. end-1.
  static void weight_strip(const RmsNormBackward& a, Index t, Index end, Index i) {
    constexpr int kLanes = V::kLanes;
    Vec dw[4];
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) dw[c] = V::load(a.dw_D + i + c * kLanes);
    for (; t < end; ++t) {
      const Vec r = V::set(a.rstd_T[t]);
      const float* x = a.x + t * a.x_stride + i;
      const float* dy = a.dy + t * a.dy_stride + i;
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) {
        dw[c] = V::fma(V::load(dy + c * kLanes), V::load(x + c * kLanes) * r, dw[c]);
      }
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) V::store(a.dw_D + i + c * kLanes, dw[c]);
  }

  static void weight_vector(const RmsNormBackward& a, Index t, Index end, Index i) {
    const Index left = a.width - i;
    Vec dw = V::load_first(a.dw_D + i, left);
    for (; t < end; ++t) {
      const Vec x = V::load_first(a.x + t * a.x_stride + i, left);
      const Vec dy = V::load_first(a.dy + t * a.dy_stride + i, left);
      dw = V::fma(dy, x * V::set(a.rstd_T[t]), dw);
    }
    V::store_first(a.dw_D + i, dw, left);
  }

  static constexpr RmsNormKernel kernel(sys::Isa isa) {
    return {isa, forward, backward_input, backward_weight};
  }
};

}  // namespace conclave::kernels
