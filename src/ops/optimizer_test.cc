#include "ops/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/rng.h"

namespace conclave::ops {
namespace {

std::vector<float> normal(std::uint64_t seed, std::size_t count) {
  const Rng rng(seed);
  std::vector<float> x(count);
  for (std::size_t i = 0; i < count; ++i) x[i] = static_cast<float>(rng.normal(i));
  return x;
}

TEST(Optimizer, AdamWOverThreads) {
  AdamWStep step;
  step.lr = 0.01;
  step.weight_decay = 0.1;
  step.bias_correction1 = 0.1;
  step.bias_correction2 = 0.05;
  for (std::size_t count : {0u, 1u, 5000u, 40000u}) {
    const std::vector<float> grad = normal(2, count);
    std::vector<std::vector<float>> results;
    for (int threads : {1, 2, 3}) {
      Context context(threads);
      std::vector<float> w = normal(1, count), m(count), v(count);
      for (int i = 0; i < 2; ++i) adamw_step(context, w, grad, m, v, step);
      results.push_back(w);
      if (threads > 1) {
        EXPECT_EQ(results.back(), results.front());
      }
    }
    if (count == 0) continue;
    // By hand, the last element.
    double w = normal(1, count).back(), m = 0, v = 0;
    const double g = grad.back();
    for (int i = 0; i < 2; ++i) {
      w *= 1 - 0.01 * 0.1;
      m += (g - m) * (1 - step.beta1);
      v = v * step.beta2 + (1 - step.beta2) * g * g;
      w -= 0.01 / 0.1 * (m / (std::sqrt(v) / std::sqrt(0.05) + step.eps));
    }
    EXPECT_NEAR(results[0].back(), w, 1e-6);
  }
}

TEST(Optimizer, SumOfSquaresIsDeterministicAndAccurate) {
  const std::vector<float> x = normal(3, 300001);
  double wanted = 0;
  for (float value : x) wanted += static_cast<double>(value) * value;
  Context one(1);
  const double alone = sum_of_squares(one, x);
  EXPECT_NEAR(alone, wanted, 1e-11 * wanted);
  for (int threads : {2, 3}) {
    Context context(threads);
    const double sum = sum_of_squares(context, x);
    EXPECT_EQ(std::memcmp(&sum, &alone, sizeof(sum)), 0);
  }
  EXPECT_EQ(sum_of_squares(one, {}), 0);
}

TEST(Optimizer, NonFiniteShows) {
  for (int threads : {1, 3}) {
    Context context(threads);
    std::vector<float> x = normal(3, 200000);
    EXPECT_TRUE(all_finite(context, x));
    EXPECT_TRUE(all_finite(context, {}));
    for (std::size_t place : {std::size_t{0}, std::size_t{70001}, x.size() - 1}) {
      for (float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
        const float kept = x[place];
        x[place] = bad;
        EXPECT_FALSE(all_finite(context, x));
        EXPECT_FALSE(std::isfinite(sum_of_squares(context, x)));
        x[place] = kept;
      }
    }
  }
}

}  // namespace
}  // namespace conclave::ops
