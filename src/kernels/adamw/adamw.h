// AdamW (Loshchilov & Hutter 2019, algorithm 2, with the decay scaled by the learning rate), in the
// order of operations of torch.optim.AdamW:
//   g = grad * grad_scale;   w *= 1 - lr * weight_decay
//   m += (g - m) * (1 - beta1);   v = v * beta2 + (1 - beta2) * g * g
//   w -= lr / bias_correction1 * m / (sqrt(v) / sqrt(bias_correction2) + eps)
#pragma once

#include <cstdint>
#include <span>

#include "sys/cpu.h"

namespace conclave::kernels {

// Doubles, because 1 - beta of a rounded beta2 = 0.999 would already be off by 5e-5.
struct AdamWStep {
  double lr = 0;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0;
  double bias_correction1 = 1;  // 1 - beta1^t at step t = 1, 2, ...
  double bias_correction2 = 1;  // 1 - beta2^t
  double grad_scale = 1;        // clipping and the mean over micro-batches, in one factor
};

template <class Real>
struct AdamWArraysOf {
  Real* w = nullptr;
  const Real* grad = nullptr;
  Real* m = nullptr;
  Real* v = nullptr;
  std::int64_t count = 0;
};
using AdamWArrays = AdamWArraysOf<float>;

struct AdamWKernel {
  sys::Isa isa;
  // Each element depends on its own w, grad, m and v alone. The four arrays do not overlap.
  void (*step)(const AdamWArrays&, const AdamWStep&) noexcept;
};

std::span<const AdamWKernel> adamw_kernels();

}  // namespace conclave::kernels
