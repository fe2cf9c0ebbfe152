#include "kernels/adamw/adamw.h"

#include "kernels/adamw/adamw_reference.h"
#include "kernels/choice.h"
#include "kernels/simd/kernel_testing.h"

namespace conclave::kernels {
namespace {

using testing::Guarded;
using Doubles = std::vector<double>;

AdamWStep step_at(int t) {
  AdamWStep s;
  s.lr = 3e-3;
  s.beta1 = 0.9;
  s.beta2 = 0.999;
  s.weight_decay = 0.1;
  s.bias_correction1 = 1 - std::pow(s.beta1, t);
  s.bias_correction2 = 1 - std::pow(s.beta2, t);
  s.grad_scale = 0.5;
  return s;
}

TEST(AdamW, ReferenceByHand) {
  // First step from zero moments: m = 0.1 g, v = 0.001 g^2, both corrected to g and g^2, so the
  // weight moves by lr * sign(g) after the decay.
  double w = 2, g = 8, m = 0, v = 0;
  reference::adamw_step<double>({&w, &g, &m, &v, 1}, step_at(1));
  EXPECT_NEAR(m, 0.1 * 4, 1e-15);
  EXPECT_NEAR(v, 0.001 * 16, 1e-15);
  EXPECT_NEAR(w, 2 * (1 - 3e-4) - 3e-3 * 4 / (4 + 1e-8), 1e-14);
}

TEST(AdamW, KernelsMatchReferenceOverSteps) {
  for (const auto& kernel : runnable(adamw_kernels())) {
    SCOPED_TRACE(sys::isa_name(kernel.isa));
    for (std::int64_t n : testing::test_widths()) {
      Guarded w(1, n, 0), g(1, n, 1), m(1, n, 2), v(1, n, 3);
      w.fill(1), m.fill(0, 0), v.fill(0, 0);
      Doubles wd = w.doubles(), md = m.doubles(), vd = v.doubles();
      for (int t = 1; t <= 5; ++t) {
        g.fill(static_cast<std::uint64_t>(10 + t), t == 3 ? 1e-6 : 1);
        Doubles gd = g.doubles();
        kernel.step({w.data(), g.data(), m.data(), v.data(), n}, step_at(t));
        reference::adamw_step<double>({wd.data(), gd.data(), md.data(), vd.data(), n}, step_at(t));
      }
      testing::expect_close(w.floats(), wd, 3e-7, "w");
      testing::expect_close(m.floats(), md, 3e-7, "m");
      testing::expect_close(v.floats(), vd, 3e-7, "v");
      ASSERT_TRUE(w.intact() && g.intact() && m.intact() && v.intact());
    }
  }
}

TEST(AdamW, BitsDoNotDependOnPlace) {
  for (const auto& kernel : runnable(adamw_kernels())) {
    Guarded w(1, 50), g(1, 50), m(1, 50), v(1, 50), w1(1, 50), m1(1, 50), v1(1, 50);
    w.fill(1), g.fill(2), m.fill(3), v.fill(4), w1.fill(1), m1.fill(3), v1.fill(4);
    for (std::int64_t i = 0; i < 50; ++i) v.data()[i] = v1.data()[i] = std::abs(v.data()[i]);
    kernel.step({w.data(), g.data(), m.data(), v.data(), 50}, step_at(7));
    for (std::int64_t i = 0; i < 50; ++i) {
      kernel.step({w1.data() + i, g.data() + i, m1.data() + i, v1.data() + i, 1}, step_at(7));
    }
    EXPECT_TRUE(testing::same_bits(w.floats(), w1.floats()));
    EXPECT_TRUE(testing::same_bits(m.floats(), m1.floats()));
    EXPECT_TRUE(testing::same_bits(v.floats(), v1.floats()));
  }
}

}  // namespace
}  // namespace conclave::kernels
