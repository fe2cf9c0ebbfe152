#include "kernels/elementwise/elementwise.h"

#include <bit>
#include <limits>

#include "kernels/choice.h"
#include "kernels/simd/kernel_testing.h"

namespace conclave::kernels {
namespace {

using testing::Guarded;

constexpr float kInf = std::numeric_limits<float>::infinity();
const float kNaN = std::numeric_limits<float>::quiet_NaN();

TEST(Elementwise, AddAndSumOfSquares) {
  for (const auto& kernel : runnable(elementwise_kernels())) {
    SCOPED_TRACE(sys::isa_name(kernel.isa));
    for (std::int64_t n : testing::test_widths()) {
      Guarded x(1, n, static_cast<int>(n % 7)), y(1, n, static_cast<int>(n % 5));
      x.fill(1), y.fill(2);
      const auto before = y.floats();
      kernel.add(x.data(), y.data(), n);
      ASSERT_TRUE(x.intact() && y.intact());
      double squares = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        ASSERT_EQ(y.data()[i], before[static_cast<std::size_t>(i)] + x.data()[i]);
        squares += static_cast<double>(x.data()[i]) * x.data()[i];
      }
      ASSERT_NEAR(kernel.sum_of_squares(x.data(), n), squares, 1e-13 * squares);
    }
  }
}

TEST(Elementwise, SumOfSquaresDoesNotOverflowFloat) {
  const std::vector<float> x(100, 1e30f);
  for (const auto& kernel : runnable(elementwise_kernels())) {
    const double wanted = 100 * static_cast<double>(1e30f) * static_cast<double>(1e30f);
    EXPECT_NEAR(kernel.sum_of_squares(x.data(), 100), wanted, 1e-12 * wanted);
  }
}

TEST(Elementwise, NonFiniteIsFoundEverywhere) {
  for (const auto& kernel : runnable(elementwise_kernels())) {
    SCOPED_TRACE(sys::isa_name(kernel.isa));
    for (std::int64_t n : {1, 7, 16, 31, 33, 130, 2050}) {
      Guarded x(1, n);
      x.fill(3, 1e30);
      ASSERT_TRUE(kernel.all_finite(x.data(), n));
      for (std::int64_t i = 0; i < n; ++i) {
        const float kept = x.data()[i];
        for (float bad : {kInf, -kInf, kNaN}) {
          x.data()[i] = bad;
          ASSERT_FALSE(kernel.all_finite(x.data(), n));
          ASSERT_FALSE(std::isfinite(kernel.sum_of_squares(x.data(), n)));
        }
        x.data()[i] = kept;
      }
      ASSERT_TRUE(kernel.all_finite(x.data(), 0));
    }
  }
}

// Every 1009th float of both signs: relative error where the result is normal, absolute below.
template <class Exp>
void expect_accurate(const Exp& computed, double (*exact)(double)) {
  constexpr std::uint32_t kStep = 1009;
  std::vector<float> x, y;
  double worst = 0;
  for (std::uint64_t bits = 0; bits < (1ull << 32); bits += kStep) {
    const float value = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (std::abs(value) < 200) x.push_back(value);
  }
  y.resize(x.size());
  computed(x.data(), y.data(), static_cast<std::int64_t>(x.size()));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double wanted = exact(x[i]);
    if (wanted > std::numeric_limits<float>::max() * 1.00001) {
      ASSERT_EQ(y[i], kInf) << x[i];
    } else if (wanted >= std::numeric_limits<float>::min()) {
      if (wanted < std::numeric_limits<float>::max()) {
        worst = std::max(worst, std::abs(y[i] / wanted - 1));
      }
    } else {
      ASSERT_NEAR(y[i], wanted, 1.5e-45) << x[i];
    }
  }
  EXPECT_LT(worst, 1.2e-7);
}

TEST(Elementwise, ExponentialsAreAccurate) {
  for (const auto& kernel : runnable(elementwise_kernels())) {
    SCOPED_TRACE(sys::isa_name(kernel.isa));
    expect_accurate(kernel.exp, [](double v) { return std::exp(v); });
    expect_accurate(kernel.exp2, [](double v) { return std::exp2(v); });
  }
}

TEST(Elementwise, ExponentialsOfSpecialValues) {
  const float x[] = {0.f, -0.f, kInf, -kInf, kNaN, 1e30f, -1e30f, -3.4e38f};
  for (const auto& kernel : runnable(elementwise_kernels())) {
    for (auto function : {kernel.exp, kernel.exp2}) {
      float y[8];
      function(x, y, 8);
      EXPECT_EQ(y[0], 1.f);
      EXPECT_EQ(y[1], 1.f);
      EXPECT_EQ(y[2], kInf);
      EXPECT_EQ(y[3], 0.f);
      EXPECT_TRUE(std::isnan(y[4]));
      EXPECT_EQ(y[5], kInf);
      EXPECT_EQ(y[6], 0.f);
      EXPECT_EQ(y[7], 0.f);
    }
  }
}

TEST(Elementwise, ExponentialDoesNotDependOnPlace) {
  for (const auto& kernel : runnable(elementwise_kernels())) {
    Guarded x(1, 40), all(1, 40), one(1, 1);
    x.fill(4, 10);
    kernel.exp(x.data(), all.data(), 40);
    for (std::int64_t i = 0; i < 40; ++i) {
      kernel.exp(x.data() + i, one.data(), 1);
      ASSERT_EQ(one.data()[0], all.data()[i]);
      ASSERT_TRUE(one.intact());
    }
  }
}

}  // namespace
}  // namespace conclave::kernels
