// SwiGLU (Shazeer 2020, eq. 5): h = silu(gate) * up, silu(g) = g / (1 + exp(-g)).
//   d_up = dh * silu(gate);   d_gate = dh * up * s * (1 + gate * (1 - s)) with s = 1/(1+exp(-gate))
//
// Shape letters: R rows, F width of h. Strides are in elements.
#pragma once

#include <cstdint>
#include <span>

#include "sys/cpu.h"

namespace conclave::kernels {

template <class Real>
struct SwigluOf {
  const Real* gate_up = nullptr;  // [R, 2F], gate first
  std::int64_t gate_up_stride = 0;
  Real* h = nullptr;  // [R, F]; written by forward
  std::int64_t h_stride = 0;
  const Real* dh = nullptr;  // [R, F]; read by backward
  std::int64_t dh_stride = 0;
  Real* d_gate_up = nullptr;  // [R, 2F], assigned by backward; may be gate_up
  std::int64_t d_gate_up_stride = 0;
  std::int64_t rows = 0;   // R
  std::int64_t width = 0;  // F
};
using Swiglu = SwigluOf<float>;

struct SwigluKernel {
  sys::Isa isa;
  void (*forward)(const Swiglu&) noexcept;
  void (*backward)(const Swiglu&) noexcept;
};

std::span<const SwigluKernel> swiglu_kernels();

}  // namespace conclave::kernels
