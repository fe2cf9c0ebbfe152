#include "kernels/rope/rope.h"

#include "kernels/choice.h"
#include "kernels/rope/rope_reference.h"
#include "kernels/simd/kernel_testing.h"

namespace conclave::kernels {
namespace {

using testing::Guarded;
using Doubles = std::vector<double>;

constexpr std::int64_t kPositions = 50;

template <class Real>
std::vector<Real> table(int rotary_dim) {
  std::vector<Real> t;
  for (std::int64_t p = 0; p < kPositions; ++p) {
    for (int part = 0; part < 2; ++part) {
      for (int i = 0; i < rotary_dim / 2; ++i) {
        const double angle = static_cast<double>(p) * std::pow(1e4, -2.0 * i / rotary_dim);
        t.push_back(static_cast<Real>(part == 0 ? std::cos(angle) : std::sin(angle)));
      }
    }
  }
  return t;
}

TEST(Rope, TurnsByTheAngle) {
  // One pair at position 1 with frequency 1: (1, 0) goes to (cos 1, sin 1).
  const std::vector<double> t = table<double>(2);
  double x[3] = {1, 0, 5};
  const std::int32_t position = 1;
  reference::rope_rotate<double>({x, 3, 1, 1, 3, 2, t.data(), &position, false});
  EXPECT_NEAR(x[0], std::cos(1.0), 1e-15);
  EXPECT_NEAR(x[1], std::sin(1.0), 1e-15);
  EXPECT_EQ(x[2], 5);
}

TEST(Rope, InverseIsTheGradient) {
  constexpr int kHeads = 2, kDim = 6, kRotary = 4;
  const std::vector<double> t = table<double>(kRotary);
  const std::vector<std::int32_t> positions = {0, 7, 49};
  Doubles x = testing::random_doubles(1, 3 * kHeads * kDim);
  const Doubles dy = testing::random_doubles(2, x.size());
  const auto turned = [&](Doubles values, bool inverse) {
    reference::rope_rotate<double>({values.data(), kHeads * kDim, 3, kHeads, kDim, kRotary,
                                    t.data(), positions.data(), inverse});
    return values;
  };
  testing::expect_gradient(
      x, turned(dy, true), [&] { return testing::weighted_sum(turned(x, false), dy); }, "dx");
  const Doubles back = turned(turned(x, false), true);
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(back[i], x[i], 1e-14);
}

TEST(Rope, KernelsMatchReference) {
  const std::vector<std::int32_t> positions = {3, 0, 49, 3};
  for (const auto& kernel : runnable(rope_kernels())) {
    SCOPED_TRACE(sys::isa_name(kernel.isa));
    for (int rotary = 0; rotary <= 72; rotary += 2) {
      const std::vector<float> t = table<float>(rotary);
      const Doubles t_exact(t.begin(), t.end());
      for (int rest : {0, 1, 5}) {
        for (bool inverse : {false, true}) {
          const int dim = rotary + rest;
          const int heads = 3;
          Guarded x(4, heads * dim + 2, rest);
          x.fill(1);
          Doubles wanted = x.doubles();
          reference::rope_rotate<double>({wanted.data(), heads * dim + 2, 4, heads, dim, rotary,
                                          t_exact.data(), positions.data(), inverse});
          kernel.rotate(
              {x.data(), x.stride(), 4, heads, dim, rotary, t.data(), positions.data(), inverse});
          testing::expect_close(x.floats(), wanted, 3e-7, "x");
          ASSERT_TRUE(x.intact());
        }
      }
    }
  }
}

}  // namespace
}  // namespace conclave::kernels
