#include "kernels/swiglu/swiglu.h"

#include "kernels/choice.h"
#include "kernels/simd/kernel_testing.h"
#include "kernels/swiglu/swiglu_reference.h"

namespace conclave::kernels {
namespace {

using testing::Guarded;
using Doubles = std::vector<double>;

Doubles forward(Doubles& gate_up, std::int64_t rows, std::int64_t width) {
  Doubles h(static_cast<std::size_t>(rows * width));
  SwigluOf<double> a;
  a.gate_up = gate_up.data(), a.gate_up_stride = 2 * width;
  a.h = h.data(), a.h_stride = width;
  a.rows = rows, a.width = width;
  reference::swiglu_forward(a);
  return h;
}

Doubles backward(Doubles& gate_up, Doubles& dh, std::int64_t rows, std::int64_t width) {
  Doubles d(gate_up.size());
  SwigluOf<double> a;
  a.gate_up = gate_up.data(), a.gate_up_stride = 2 * width;
  a.dh = dh.data(), a.dh_stride = width;
  a.d_gate_up = d.data(), a.d_gate_up_stride = 2 * width;
  a.rows = rows, a.width = width;
  reference::swiglu_backward(a);
  return d;
}

TEST(Swiglu, ReferenceGradientIsRight) {
  Doubles x = testing::random_doubles(1, 2 * 3 * 7, 2);
  Doubles dh = testing::random_doubles(2, 3 * 7);
  testing::expect_gradient(
      x, backward(x, dh, 3, 7), [&] { return testing::weighted_sum(forward(x, 3, 7), dh); },
      "d_gate_up");
}

TEST(Swiglu, KernelsMatchReference) {
  for (const auto& kernel : runnable(swiglu_kernels())) {
    SCOPED_TRACE(sys::isa_name(kernel.isa));
    for (std::int64_t width : testing::test_widths()) {
      const std::int64_t rows = width % 3 + (width > 0);
      Guarded x(rows, 2 * width, 1), h(rows, width, 2), dh(rows, width, 3), d(rows, 2 * width, 4);
      x.fill(1, 4), dh.fill(2);
      Doubles xd = x.doubles(), dhd = dh.doubles();
      Swiglu a;
      a.gate_up = x.data(), a.gate_up_stride = x.stride();
      a.h = h.data(), a.h_stride = h.stride();
      a.dh = dh.data(), a.dh_stride = dh.stride();
      a.d_gate_up = d.data(), a.d_gate_up_stride = d.stride();
      a.rows = rows, a.width = width;
      kernel.forward(a);
      kernel.backward(a);
      testing::expect_close(h.floats(), forward(xd, rows, width), 6e-7, "h");
      testing::expect_close(d.floats(), backward(xd, dhd, rows, width), 1e-6, "d");
      ASSERT_TRUE(h.intact() && d.intact());
      a.d_gate_up = x.data(), a.d_gate_up_stride = x.stride();  // in place
      const auto apart = d.floats();
      kernel.backward(a);
      ASSERT_TRUE(testing::same_bits(x.floats(), apart) && x.intact());
    }
  }
}

TEST(Swiglu, LargeGatesSaturate) {
  // gates: far up, far down, and NaN; up is 2
  for (const auto& kernel : runnable(swiglu_kernels())) {
    float x[6] = {1e30f, -1e30f, std::nanf(""), 2, 2, 2};
    const float dh[3] = {1, 1, 1};
    float h[3], d[6];
    Swiglu a;
    a.gate_up = x, a.gate_up_stride = 6;
    a.h = h, a.h_stride = 3;
    a.dh = dh, a.dh_stride = 3;
    a.d_gate_up = d, a.d_gate_up_stride = 6;
    a.rows = 1, a.width = 3;
    kernel.forward(a);
    kernel.backward(a);
    EXPECT_EQ(h[0], 2e30f);
    EXPECT_EQ(h[1], 0.f);
    EXPECT_TRUE(std::isnan(h[2]));
    EXPECT_EQ(d[0], 2.f);
    EXPECT_EQ(d[1], 0.f);
    EXPECT_EQ(d[3], 1e30f);
    EXPECT_EQ(d[4], 0.f);
    EXPECT_TRUE(std::isnan(d[2]) && std::isnan(d[5]));
  }
}

}  // namespace
}  // namespace conclave::kernels
