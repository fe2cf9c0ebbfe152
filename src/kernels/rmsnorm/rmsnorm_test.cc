#include "kernels/rmsnorm/rmsnorm.h"

#include "kernels/choice.h"
#include "kernels/rmsnorm/rmsnorm_reference.h"
#include "kernels/simd/kernel_testing.h"

namespace conclave::kernels {
namespace {

using testing::Guarded;
using Doubles = std::vector<double>;

constexpr double kEps = 1e-5;

Doubles forward(Doubles& x, Doubles& w, std::int64_t rows, std::int64_t width, Doubles* rstd) {
  Doubles y(x.size());
  rstd->resize(static_cast<std::size_t>(rows));
  reference::rmsnorm_forward<double>(
      {x.data(), width, w.data(), y.data(), width, rstd->data(), rows, width, kEps});
  return y;
}

struct Gradients {
  Doubles dx, dw;
};
Gradients backward(Doubles& x, Doubles& w, Doubles& rstd, Doubles& dy, std::int64_t rows,
                   std::int64_t width) {
  Gradients g{Doubles(x.size()), Doubles(w.size())};
  const RmsNormBackwardOf<double> a{x.data(),    width, w.data(), rstd.data(), dy.data(), width,
                                    g.dx.data(), width, false,    g.dw.data(), rows,      width};
  reference::rmsnorm_backward_input(a);
  reference::rmsnorm_backward_weight(a);
  return g;
}

TEST(RmsNorm, ReferenceGradientIsRight) {
  for (const auto& [rows, width] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {3, 7}, {5, 16}}) {
    const auto n = static_cast<std::size_t>(rows * width);
    Doubles x = testing::random_doubles(1, n);
    Doubles w = testing::random_doubles(2, static_cast<std::size_t>(width));
    Doubles dy = testing::random_doubles(3, n);
    Doubles rstd;
    forward(x, w, rows, width, &rstd);
    const Gradients g = backward(x, w, rstd, dy, rows, width);
    Doubles unused;
    const auto loss = [&, r = rows, c = width] {
      return testing::weighted_sum(forward(x, w, r, c, &unused), dy);
    };
    testing::expect_gradient(x, g.dx, loss, "dx");
    testing::expect_gradient(w, g.dw, loss, "dw");
  }
}

TEST(RmsNorm, KernelsMatchReference) {
  for (const auto& kernel : runnable(rmsnorm_kernels())) {
    SCOPED_TRACE(sys::isa_name(kernel.isa));
    for (std::int64_t width : testing::test_widths()) {
      SCOPED_TRACE(width);
      const std::int64_t rows = width % 4;
      Guarded x(rows, width, 1, 3), w(1, width), dy(rows, width), y(rows, width, 7, 1);
      Guarded rstd(1, rows), dx(rows, width, 2, 9), dw(1, width, 1);
      x.fill(1), w.fill(2), dy.fill(3), dx.fill(4), dw.fill(5);
      Doubles xd = x.doubles(), wd = w.doubles(), dyd = dy.doubles(), rd;
      Doubles dx_before = dx.doubles(), dw_before = dw.doubles();
      const Doubles yd = forward(xd, wd, rows, width, &rd);
      Gradients g = backward(xd, wd, rd, dyd, rows, width);

      kernel.forward({x.data(), x.stride(), w.data(), y.data(), y.stride(), rstd.data(), rows,
                      width, static_cast<float>(kEps)});
      testing::expect_close(y.floats(), yd, 2e-6, "y");
      testing::expect_close(rstd.floats(), rd, 2e-6, "rstd");

      RmsNormBackward a{x.data(),  x.stride(),  w.data(), rstd.data(), dy.data(), dy.stride(),
                        dx.data(), dx.stride(), true,     dw.data(),   rows,      width};
      kernel.backward_input(a);
      for (std::size_t i = 0; i < dx_before.size(); ++i) dx_before[i] += g.dx[i];
      testing::expect_close(dx.floats(), dx_before, 5e-6, "dx +=");
      a.add_to_dx = false;
      kernel.backward_input(a);
      testing::expect_close(dx.floats(), g.dx, 5e-6, "dx =");
      kernel.backward_weight(a);
      for (std::size_t i = 0; i < dw_before.size(); ++i) dw_before[i] += g.dw[i];
      testing::expect_close(dw.floats(), dw_before, 5e-6, "dw");
      ASSERT_TRUE(y.intact() && rstd.intact() && dx.intact() && dw.intact());
    }
  }
}

TEST(RmsNorm, BitsDoNotDependOnTheSplit) {
  constexpr std::int64_t kRows = 9, kWidth = 77;
  for (const auto& kernel : runnable(rmsnorm_kernels())) {
    SCOPED_TRACE(sys::isa_name(kernel.isa));
    Guarded x(kRows, kWidth), dy(kRows, kWidth), w(1, kWidth), rstd(1, kRows), y(kRows, kWidth);
    Guarded alone(kRows, kWidth, 0, 0), dw(1, kWidth), dw_split(1, kWidth);
    x.fill(1), dy.fill(2), w.fill(3), dw.fill(4), dw_split.fill(4);
    kernel.forward(
        {x.data(), x.stride(), w.data(), y.data(), y.stride(), rstd.data(), kRows, kWidth, 1e-6f});
    for (std::int64_t r = 0; r < kRows; ++r) {
      kernel.forward({x.row(r), x.stride(), w.data(), alone.row(r), alone.stride(), nullptr, 1,
                      kWidth, 1e-6f});
    }
    EXPECT_TRUE(testing::same_bits(y.floats(), alone.floats()));

    RmsNormBackward a{x.data(), x.stride(), nullptr, rstd.data(), dy.data(), dy.stride(),
                      nullptr,  0,          false,   dw.data(),   kRows,     kWidth};
    kernel.backward_weight(a);
    for (std::int64_t begin : {0, 4}) {
      for (std::int64_t column : {0, 16, 48}) {
        const std::int64_t end = column == 0 ? 16 : column == 16 ? 48 : kWidth;
        RmsNormBackward part = a;
        part.x = x.row(begin) + column;
        part.dy = dy.row(begin) + column;
        part.rstd_T = rstd.data() + begin;
        part.dw_D = dw_split.data() + column;
        part.rows = begin == 0 ? 4 : kRows - 4;
        part.width = end - column;
        kernel.backward_weight(part);
      }
    }
    EXPECT_TRUE(testing::same_bits(dw.floats(), dw_split.floats()));
  }
}

TEST(RmsNorm, NonFiniteInputShows) {
  for (const auto& kernel : runnable(rmsnorm_kernels())) {
    std::vector<float> x(40, 1.f), w(40, 1.f), y(40);
    x[37] = std::nanf("");
    kernel.forward({x.data(), 40, w.data(), y.data(), 40, nullptr, 1, 40, 1e-6f});
    for (float value : y) EXPECT_TRUE(std::isnan(value));
  }
}

}  // namespace
}  // namespace conclave::kernels
