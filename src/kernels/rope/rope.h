// Rotary positions (Su et al. 2021, eq. 34), rotate-half pairing: within the first R = rotary_dim
// elements of each head, element i turns with element i + R/2 by the angle of pair i:
//   x_i' = x_i c_i - x_(i+R/2) s_i;   x_(i+R/2)' = x_(i+R/2) c_i + x_i s_i
// The inverse turns back (s -> -s); it is the backward pass.
//
// Shape letters: T rows, H heads, Q head width. Strides are in elements.
#pragma once

#include <cstdint>
#include <span>

#include "sys/cpu.h"

namespace conclave::kernels {

template <class Real>
struct RopeOf {
  Real* x = nullptr;  // [T, H*Q], turned in place
  std::int64_t stride = 0;
  std::int64_t rows = 0;                      // T
  int n_heads = 0;                            // H
  int head_dim = 0;                           // Q
  int rotary_dim = 0;                         // R, even, <= Q
  const Real* cos_sin = nullptr;              // [positions][2][R/2]: cosines, then sines
  const std::int32_t* positions_T = nullptr;  // within the table
  bool inverse = false;
};
using Rope = RopeOf<float>;

struct RopeKernel {
  sys::Isa isa;
  void (*rotate)(const Rope&) noexcept;
};

std::span<const RopeKernel> rope_kernels();

}  // namespace conclave::kernels
