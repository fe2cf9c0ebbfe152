#include "kernels/elementwise/elementwise.h"

#include <cmath>

namespace conclave::kernels {

extern const ElementwiseKernel kElementwiseAvx2, kElementwiseAvx512;
namespace {

void add(const float* x, float* y, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] += x[i];
}

double sum_of_squares(const float* x, std::int64_t n) noexcept {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  return sum;
}

bool all_finite(const float* x, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) {
    if (!std::isfinite(x[i])) return false;
  }
  return true;
}

void exp(const float* x, float* y, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] = std::exp(x[i]);
}

void exp2(const float* x, float* y, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] = std::exp2(x[i]);
}

}  // namespace

std::span<const ElementwiseKernel> elementwise_kernels() {
  static const ElementwiseKernel kList[] = {
      {sys::Isa::kReference, add, sum_of_squares, all_finite, exp, exp2},
      kElementwiseAvx2,
      kElementwiseAvx512,
  };
  return kList;
}

}  // namespace conclave::kernels
