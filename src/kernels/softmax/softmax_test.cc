#include "kernels/softmax/softmax.h"

#include "kernels/simd/kernel_testing.h"

namespace conclave::kernels {
namespace {

TEST(Softmax, SumsToOneAndShiftsFreely) {
  std::vector<double> x = testing::random_doubles(1, 17, 5);
  std::vector<double> y(17), z(17);
  softmax(x.data(), 17, y.data());
  double sum = 0;
  for (double p : y) sum += p;
  EXPECT_NEAR(sum, 1, 1e-15);
  EXPECT_NEAR(y[3] / y[5], std::exp(x[3] - x[5]), 1e-12 * std::exp(x[3] - x[5]));
  for (double& value : x) value += 700;
  softmax(x.data(), 17, x.data());
  for (std::size_t i = 0; i < 17; ++i) EXPECT_NEAR(x[i], y[i], 1e-12);
}

TEST(Softmax, GradientIsRight) {
  std::vector<double> x = testing::random_doubles(2, 8);
  const std::vector<double> dy = testing::random_doubles(3, 8);
  std::vector<double> y(8), dx(8);
  softmax(x.data(), 8, y.data());
  softmax_backward(y.data(), dy.data(), 8, dx.data());
  testing::expect_gradient(
      x, dx,
      [&] {
        std::vector<double> p(8);
        softmax(x.data(), 8, p.data());
        return testing::weighted_sum(p, dy);
      },
      "dx");
  softmax(x.data(), 8, y.data());
  testing::expect_gradient(
      x, y, [&] { return log_sum_exp(x.data(), 8); }, "log_sum_exp");
}

TEST(Softmax, SpecialRows) {
  const float inf = std::numeric_limits<float>::infinity();
  float y[3];
  const float impossible[3] = {-inf, 0, 0};
  softmax(impossible, 3, y);
  EXPECT_EQ(y[0], 0.f);
  EXPECT_EQ(y[1], 0.5f);
  const float bad[3] = {0, std::nanf(""), 1};
  softmax(bad, 3, y);
  for (float p : y) EXPECT_TRUE(std::isnan(p));
  const float none[3] = {-inf, -inf, -inf};
  softmax(none, 3, y);
  for (float p : y) EXPECT_TRUE(std::isnan(p));
  EXPECT_EQ(log_sum_exp<float>(nullptr, 0), -inf);
}

}  // namespace
}  // namespace conclave::kernels
