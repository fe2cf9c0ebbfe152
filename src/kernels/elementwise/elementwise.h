// Sums, checks and exponentials over plain arrays. What happens to an element does not depend on
// its place in the array.
#pragma once

#include <cstdint>
#include <span>

#include "sys/cpu.h"

namespace conclave::kernels {

struct ElementwiseKernel {
  sys::Isa isa;
  // y += x, element by element. x and y are equal or do not overlap.
  void (*add)(const float* x, float* y, std::int64_t n) noexcept;
  // The sum of squares in double, in an order that depends on n alone; NaN and infinity propagate.
  double (*sum_of_squares)(const float* x, std::int64_t n) noexcept;
  // Whether no element is NaN or infinite.
  bool (*all_finite)(const float* x, std::int64_t n) noexcept;
  // y = e^x and y = 2^x, to 1e-7 of the result where it is a normal number; x == y is allowed.
  void (*exp)(const float* x, float* y, std::int64_t n) noexcept;
  void (*exp2)(const float* x, float* y, std::int64_t n) noexcept;
};

std::span<const ElementwiseKernel> elementwise_kernels();

}  // namespace conclave::kernels
