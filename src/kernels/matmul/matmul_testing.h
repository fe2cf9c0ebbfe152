// What the tests of matrix products share: matrices with odd strides and misaligned bases inside
// guard values, sums in f64, and the error measure. For tests only.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/rng.h"
#include "tensor/tensor.h"

namespace conclave::testing {

// A matrix of f32 whose rows are `gap` elements further apart than they are long and whose base is
// `offset` elements off alignment. Everything around the elements holds a guard value.
class GuardedMatrix {
 public:
  static constexpr std::int64_t kGuard = 40;
  static constexpr float kMark = -1.25e30f;

  GuardedMatrix(std::int64_t rows, std::int64_t cols, std::int64_t gap = 3, std::int64_t offset = 1)
      : rows_(rows),
        cols_(cols),
        stride_(std::max<std::int64_t>(1, cols + gap)),
        offset_(kGuard + offset),
        values_(static_cast<std::size_t>(offset_ + rows * stride_ + kGuard), kMark) {}

  MatrixView<float> view() { return {values_.data() + offset_, rows_, cols_, stride_}; }

  void fill(float value) {
    for (std::int64_t r = 0; r < rows_; ++r) {
      for (std::int64_t c = 0; c < cols_; ++c) view()(r, c) = value;
    }
  }
  // Normal numbers named by `seed`.
  GuardedMatrix& randomise(std::uint64_t seed) {
    const Rng rng(seed);
    for (std::int64_t r = 0; r < rows_; ++r) {
      for (std::int64_t c = 0; c < cols_; ++c) {
        view()(r, c) = static_cast<float>(rng.normal(static_cast<std::uint64_t>(r * cols_ + c)));
      }
    }
    return *this;
  }

  void expect_guards(const char* what) const {
    for (std::size_t i = 0; i < values_.size(); ++i) {
      const std::int64_t at = static_cast<std::int64_t>(i) - offset_;
      const bool inside = at >= 0 && at / stride_ < rows_ && at % stride_ < cols_;
      if (!inside && values_[i] != kMark) {
        ADD_FAILURE() << what << ": written outside, at element " << at << " of [" << rows_ << ", "
                      << cols_ << "] with stride " << stride_;
        return;
      }
    }
  }

 private:
  std::int64_t rows_, cols_, stride_, offset_;
  std::vector<float> values_;
};

// The operands as a product in `compute` sees them.
inline double left_operand(float value, DType compute) {
  return compute == DType::kBF16 ? to_float(to_bf16(value)) : value;
}
inline double right_operand(float value, DType compute) {
  return compute == DType::kF16 ? to_float(to_f16(value)) : left_operand(value, compute);
}

// x[m, k] w[n, k]^T in f64.
inline std::vector<double> product_f64(MatrixView<const float> x, MatrixView<const float> w,
                                       DType compute) {
  std::vector<double> y(static_cast<std::size_t>(x.rows * w.rows));
  for (std::int64_t r = 0; r < x.rows; ++r) {
    for (std::int64_t c = 0; c < w.rows; ++c) {
      double sum = 0;
      for (std::int64_t i = 0; i < x.cols; ++i) {
        sum += left_operand(x(r, i), compute) * right_operand(w(c, i), compute);
      }
      y[static_cast<std::size_t>(r * w.rows + c)] = sum;
    }
  }
  return y;
}

// Sum of squared errors over sum of squares; infinite if anything is not finite.
inline double nmse(MatrixView<const float> found, const std::vector<double>& expected) {
  double error = 0;
  double size = 0;
  for (std::int64_t r = 0; r < found.rows; ++r) {
    for (std::int64_t c = 0; c < found.cols; ++c) {
      const double e = expected[static_cast<std::size_t>(r * found.cols + c)];
      error += (found(r, c) - e) * (found(r, c) - e);
      size += e * e;
    }
  }
  if (!std::isfinite(error)) return HUGE_VAL;
  return error == 0 ? 0 : error / size;
}

inline void expect_same_bits(MatrixView<const float> a, MatrixView<const float> b,
                             const char* what) {
  ASSERT_EQ(a.rows, b.rows);
  ASSERT_EQ(a.cols, b.cols);
  for (std::int64_t r = 0; r < a.rows; ++r) {
    ASSERT_EQ(std::memcmp(a.row(r), b.row(r), static_cast<std::size_t>(a.cols) * sizeof(float)), 0)
        << what << ": row " << r << " of [" << a.rows << ", " << a.cols << "]";
  }
}

}  // namespace conclave::testing
