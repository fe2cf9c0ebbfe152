#include "kernels/elementwise/elementwise.h"

#include <cmath>

namespace conclave::kernels {
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

}  // namespace

std::span<const ElementwiseKernel> elementwise_kernels() {
  static const ElementwiseKernel kList[] = {
      {sys::Isa::kReference, add, sum_of_squares, all_finite},
  };
  return kList;
}

}  // namespace conclave::kernels
