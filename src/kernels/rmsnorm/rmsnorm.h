// RMSNorm (Zhang & Sennrich 2019, eq. 4): y = x * r * w with r = 1/sqrt(mean(x^2) + eps).
//   dx = r * (g - x * r^2 * mean(g x)) with g = dy * w;   dw = sum over rows of dy * x * r
// A row's result depends on that row alone.
//
// Shape letters: T rows, D width. Strides are in elements.
#pragma once

#include <cstdint>
#include <span>

#include "sys/cpu.h"

namespace conclave::kernels {

template <class Real>
struct RmsNormForwardOf {
  const Real* x = nullptr;  // [T, D]
  std::int64_t x_stride = 0;
  const Real* w_D = nullptr;
  Real* y = nullptr;  // [T, D]; may be x
  std::int64_t y_stride = 0;
  Real* rstd_T = nullptr;  // receives r; may be null
  std::int64_t rows = 0;   // T
  std::int64_t width = 0;  // D
  Real eps = 0;
};
using RmsNormForward = RmsNormForwardOf<float>;

template <class Real>
struct RmsNormBackwardOf {
  const Real* x = nullptr;  // [T, D]
  std::int64_t x_stride = 0;
  const Real* w_D = nullptr;     // [D]; not read by `weight`
  const Real* rstd_T = nullptr;  // as the forward pass left it
  const Real* dy = nullptr;      // [T, D]
  std::int64_t dy_stride = 0;
  Real* dx = nullptr;  // [T, D]; may be dy; not written by `weight`
  std::int64_t dx_stride = 0;
  bool add_to_dx = false;  // += instead of =
  Real* dw_D = nullptr;    // +=; not written by `input`
  std::int64_t rows = 0;
  std::int64_t width = 0;
};
using RmsNormBackward = RmsNormBackwardOf<float>;

struct RmsNormKernel {
  sys::Isa isa;
  void (*forward)(const RmsNormForward&) noexcept;
  void (*backward_input)(const RmsNormBackward&) noexcept;
  // The rows in order, one by one, onto what dw holds: two calls of half the rows give the bits of
  // one call. May be called on a range of columns (pointers advanced, width shortened).
  void (*backward_weight)(const RmsNormBackward&) noexcept;
};

std::span<const RmsNormKernel> rmsnorm_kernels();

}  // namespace conclave::kernels
