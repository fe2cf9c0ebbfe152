// Cross-entropy of one row of logits against one target:
//   nll = logsumexp(x) - x[target];   d nll / dx = softmax(x) - onehot(target)
// A non-finite logit makes a non-finite nll (except -inf, which is a probability of 0).
//
// Shape letters: V vocabulary.
#pragma once

#include <cstdint>
#include <span>

#include "sys/cpu.h"

namespace conclave::kernels {

struct CrossEntropyKernel {
  sys::Isa isa;
  // Returns nll of x[V]; 0 <= target < V.
  float (*forward)(const float* x_V, std::int64_t vocabulary, std::int64_t target) noexcept;
  // The same nll bit by bit; x becomes scale * (softmax(x) - onehot(target)).
  float (*forward_backward)(float* x_V, std::int64_t vocabulary, std::int64_t target,
                            float scale) noexcept;
};

std::span<const CrossEntropyKernel> cross_entropy_kernels();

}  // namespace conclave::kernels
