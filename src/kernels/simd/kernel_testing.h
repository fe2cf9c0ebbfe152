// What the tests of kernels share: matrices with guards and any misalignment, random values, and a
// finite-difference check of gradients.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "base/rng.h"
#include "sys/cpu.h"

namespace conclave::kernels::testing {

// [rows, cols] inside a larger array: `offset` elements in front (so that a row may start at any
// alignment), `gap` after each row, and a page behind. Everything around the rows holds a value
// that a kernel would have to write over exactly to go unseen.
class Guarded {
 public:
  Guarded(std::int64_t rows, std::int64_t cols, int offset = 3, int gap = 5)
      : rows_(rows), cols_(cols), stride_(cols + gap), offset_(kSide + offset) {
    cells_.assign(static_cast<std::size_t>(offset_ + rows * stride_ + kSide), kGuard);
  }
  float* data() { return cells_.data() + offset_; }
  float* row(std::int64_t r) { return data() + r * stride_; }
  std::int64_t stride() const { return stride_; }

  // Random normal values times `scale`, from a stream of its own.
  Guarded& fill(std::uint64_t seed, double scale = 1) {
    const Rng rng(seed);
    for (std::int64_t r = 0; r < rows_; ++r) {
      for (std::int64_t c = 0; c < cols_; ++c) {
        row(r)[c] =
            static_cast<float>(scale * rng.normal(static_cast<std::uint64_t>(r * cols_ + c)));
      }
    }
    return *this;
  }
  std::vector<double> doubles() {
    std::vector<double> copy;
    for (std::int64_t r = 0; r < rows_; ++r) copy.insert(copy.end(), row(r), row(r) + cols_);
    return copy;
  }
  std::vector<float> floats() {
    std::vector<float> copy;
    for (std::int64_t r = 0; r < rows_; ++r) copy.insert(copy.end(), row(r), row(r) + cols_);
    return copy;
  }
  bool intact() {
    const float* inside = data();
    for (std::size_t i = 0; i < cells_.size(); ++i) {
      const std::int64_t at = static_cast<std::int64_t>(i) - (inside - cells_.data());
      const bool mine = at >= 0 && at / stride_ < rows_ && at % stride_ < cols_;
      if (!mine && std::memcmp(&cells_[i], &kGuard, sizeof(float)) != 0) return false;
    }
    return true;
  }

 private:
  static constexpr int kSide = 64;
  static constexpr float kGuard = -7.25e22f;
  std::int64_t rows_, cols_, stride_, offset_;
  std::vector<float> cells_;
};

inline std::vector<double> random_doubles(std::uint64_t seed, std::size_t count, double scale = 1) {
  const Rng rng(seed);
  std::vector<double> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = scale * rng.normal(i);
  return values;
}

// |found - wanted| <= tolerance * (1 + |wanted|) for every element.
inline void expect_close(const std::vector<float>& found, const std::vector<double>& wanted,
                         double tolerance, const std::string& what) {
  ASSERT_EQ(found.size(), wanted.size()) << what;
  for (std::size_t i = 0; i < found.size(); ++i) {
    ASSERT_LE(std::abs(found[i] - wanted[i]), tolerance * (1 + std::abs(wanted[i])))
        << what << " element " << i << ": found " << found[i] << ", wanted " << wanted[i];
  }
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// Compares `gradient` with central differences of loss() in every element of x (which loss reads).
template <class Loss>
void expect_gradient(std::vector<double>& x, const std::vector<double>& gradient, const Loss& loss,
                     const std::string& what, double tolerance = 1e-6) {
  ASSERT_EQ(x.size(), gradient.size()) << what;
  constexpr double kStep = 1e-4;  // fourth-order differences: errors near 1e-12
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double centre = x[i];
    const auto at = [&](double shift) {
      x[i] = centre + shift;
      return loss();
    };
    const double slope =
        (8 * (at(kStep) - at(-kStep)) - (at(2 * kStep) - at(-2 * kStep))) / (12 * kStep);
    x[i] = centre;
    ASSERT_NEAR(gradient[i], slope, tolerance * (1 + std::abs(slope))) << what << " element " << i;
  }
}

// sum_i x_i w_i: a loss whose gradient by x is w.
inline double weighted_sum(const std::vector<double>& x, const std::vector<double>& w) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += x[i] * w[i];
  return sum;
}

// Widths worth testing: 0 to beyond twice the widest vector, and a few that fill the main loops.
inline std::vector<std::int64_t> test_widths() {
  std::vector<std::int64_t> widths;
  for (std::int64_t n = 0; n <= 35; ++n) widths.push_back(n);
  for (std::int64_t n : {47, 48, 63, 64, 65, 100, 127, 128, 129, 200, 257}) widths.push_back(n);
  return widths;
}

}  // namespace conclave::kernels::testing
