#include "kernels/cross_entropy/cross_entropy.h"

#include <algorithm>
#include <limits>

#include "kernels/choice.h"
#include "kernels/cross_entropy/cross_entropy_reference.h"
#include "kernels/simd/kernel_testing.h"

namespace conclave::kernels {
namespace {

using testing::Guarded;
using Doubles = std::vector<double>;

TEST(CrossEntropy, ReferenceGradientIsRight) {
  Doubles x = testing::random_doubles(1, 9, 3);
  for (std::int64_t target : {0, 4, 8}) {
    Doubles gradient = x;
    reference::cross_entropy_forward_backward(gradient.data(), 9, target, 0.7);
    testing::expect_gradient(
        x, gradient, [&] { return 0.7 * reference::cross_entropy_forward(x.data(), 9, target); },
        "dx");
  }
}

TEST(CrossEntropy, KernelsMatchReference) {
  for (const auto& kernel : runnable(cross_entropy_kernels())) {
    SCOPED_TRACE(sys::isa_name(kernel.isa));
    std::vector<std::int64_t> widths = testing::test_widths();
    widths.push_back(2048);
    widths.push_back(8191);
    for (std::int64_t n : widths) {
      if (n == 0) continue;
      for (double shift : {0.0, 500.0, -500.0}) {
        const std::int64_t target = (n * 7 + 3) % n;
        Guarded x(1, n, static_cast<int>(n % 6));
        x.fill(1, 4);
        for (std::int64_t i = 0; i < n; ++i) x.data()[i] += static_cast<float>(shift);
        Doubles xd = x.doubles();
        const double wanted = reference::cross_entropy_forward(xd.data(), n, target);
        const float nll = kernel.forward(x.data(), n, target);
        // The reference adds in index order: 8191 terms cost it a digit.
        const double sum_error = kernel.isa == sys::Isa::kReference ? 1e-5 : 2e-6;
        ASSERT_NEAR(nll, wanted, sum_error + (shift == 0 ? 0 : 7e-5)) << n;
        const float again = kernel.forward_backward(x.data(), n, target, 0.25f);
        ASSERT_EQ(again, nll);
        reference::cross_entropy_forward_backward(xd.data(), n, target, 0.25);
        testing::expect_close(x.floats(), xd, sum_error, "dx");
        ASSERT_TRUE(x.intact());
      }
    }
  }
}

TEST(CrossEntropy, SpecialLogits) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const auto& kernel : runnable(cross_entropy_kernels())) {
    SCOPED_TRACE(sys::isa_name(kernel.isa));
    for (std::int64_t n : {3, 20, 70}) {
      std::vector<float> x(static_cast<std::size_t>(n), 1.f);
      for (std::size_t i = 0; i + 1 < x.size(); i += 2) x[i] = -kInf;  // impossible tokens
      const auto ones = static_cast<double>(std::count(x.begin(), x.end(), 1.f));
      EXPECT_NEAR(kernel.forward(x.data(), n, 1), std::log(ones), 1e-6);
      EXPECT_EQ(kernel.forward(x.data(), n, 0), kInf);
      auto gradient = x;
      kernel.forward_backward(gradient.data(), n, 1, 1.f);
      EXPECT_EQ(gradient[0], 0.f);
      for (float bad : {std::nanf(""), kInf}) {
        x.back() = bad;
        EXPECT_TRUE(std::isnan(kernel.forward(x.data(), n, 1)));
      }
      std::fill(x.begin(), x.end(), -kInf);
      EXPECT_TRUE(std::isnan(kernel.forward(x.data(), n, 1)));
    }
  }
}

}  // namespace
}  // namespace conclave::kernels
