// SwiGLU over a vector type V (kernels/simd/simd.h).
#pragma once

#include "kernels/simd/simd.h"
#include "kernels/swiglu/swiglu.h"

namespace conclave::kernels {

template <class V>
struct SwigluBody {
  using Vec = typename V::Vec;

  static Vec sigmoid(Vec g) {
    const Vec one = V::set(1.f);
    return one / (one + exp<V>(-g));
  }

  static void forward(const Swiglu& a) noexcept {
    const Index n = a.width;
    for (Index r = 0; r < a.rows; ++r) {
      const float* gate = a.gate_up + r * a.gate_up_stride;
      const float* up = gate + n;
      float* h = a.h + r * a.h_stride;
      Index i = 0;
      for (; i + V::kLanes <= n; i += V::kLanes) {
        const Vec g = V::load(gate + i);
        V::store(h + i, g * sigmoid(g) * V::load(up + i));
      }
      const Index left = n - i;
      if (left > 0) {
        const Vec g = V::load_first(gate + i, left);
        V::store_first(h + i, g * sigmoid(g) * V::load_first(up + i, left), left);
      }
    }
  }

  struct Gradient {
    Vec gate, up;
  };
  static Gradient gradient(Vec g, Vec up, Vec dh) {
    const Vec one = V::set(1.f);
    const Vec s = sigmoid(g);
    const Vec slope = s * V::fma(g, one - s, one);
    return {dh * up * slope, dh * (g * s)};
  }

  static void backward(const Swiglu& a) noexcept {
    const Index n = a.width;
    for (Index r = 0; r < a.rows; ++r) {
      const float* gate = a.gate_up + r * a.gate_up_stride;
      const float* up = gate + n;
      const float* dh = a.dh + r * a.dh_stride;
      float* d_gate = a.d_gate_up + r * a.d_gate_up_stride;
      float* d_up = d_gate + n;
      Index i = 0;
      for (; i + V::kLanes <= n; i += V::kLanes) {
        const Gradient d = gradient(V::load(gate + i), V::load(up + i), V::load(dh + i));
        V::store(d_gate + i, d.gate);
        V::store(d_up + i, d.up);
      }
      const Index left = n - i;
      if (left > 0) {
        const Gradient d = gradient(V::load_first(gate + i, left), V::load_first(up + i, left),
                                    V::load_first(dh + i, left));
        V::store_first(d_gate + i, d.gate, left);
        V::store_first(d_up + i, d.up, left);
      }
    }
  }

  static constexpr SwigluKernel kernel(sys::Isa isa) { return {isa, forward, backward}; }
};

}  // namespace conclave::kernels
