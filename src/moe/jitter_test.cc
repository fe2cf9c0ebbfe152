#include "moe/jitter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace conclave::moe {
namespace {

TEST(Jitter, FactorsAreUniformAndBelongToTheToken) {
  constexpr std::int64_t kRows = 4000;
  constexpr std::int64_t kCols = 7;
  const Rng rng(5, 2);
  std::vector<double> ones(kRows * kCols, 1.0);
  ops::Context one(1);
  apply_jitter(one, 0.25, rng, 100, MatrixView<double>(ones.data(), kRows, kCols));
  double sum = 0;
  double square = 0;
  for (const double factor : ones) {
    ASSERT_GT(factor, 0.75);
    ASSERT_LT(factor, 1.25);
    sum += factor - 1;
    square += (factor - 1) * (factor - 1);
  }
  const double n = kRows * kCols;
  EXPECT_NEAR(sum / n, 0, 5 * 0.25 / std::sqrt(3 * n));
  EXPECT_NEAR(square / n, 0.25 * 0.25 / 3, 0.0005);

  // On other threads and from the middle of the batch: the same factors. And the backward pass is
  // the same call on the gradient.
  ops::Context three(3);
  std::vector<double> part(50 * kCols, 2.0);
  apply_jitter(three, 0.25, rng, 1100, MatrixView<double>(part.data(), 50, kCols));
  for (std::size_t i = 0; i < part.size(); ++i) ASSERT_EQ(part[i], 2 * ones[1000 * kCols + i]);
}

TEST(Jitter, ZeroChangesNothing) {
  std::vector<float> x = {1, 2, 3};
  ops::Context context(1);
  apply_jitter(context, 0, Rng(1), 0, MatrixView<float>(x.data(), 1, 3));
  EXPECT_EQ(x, (std::vector<float>{1, 2, 3}));
}

}  // namespace
}  // namespace conclave::moe
