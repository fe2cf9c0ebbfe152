// Dense and grouped products and their gradients, with every kernel this machine can run and with
// one to three threads, against sums in f64.
#include "ops/matmul.h"

#include <gtest/gtest.h>

#include <limits>
#include <numeric>

#include "kernels/matmul/matmul_testing.h"
#include "ops/matmul_tasks.h"
#include "sys/cpu.h"

namespace conclave::ops {
namespace {

using kernels::MatmulKernels;
using testing::GuardedMatrix;

class Matmul : public ::testing::TestWithParam<const MatmulKernels*> {
 protected:
  void SetUp() override {
    if (kernel.isa > sys::machine_isa()) GTEST_SKIP() << "needs " << sys::isa_name(kernel.isa);
  }

  PackedMatrix packed(MatrixView<const float> w, bool transposed = false) {
    PackedMatrix b;
    b.pack_for(context, kernel, w, transposed);
    return b;
  }
  std::vector<PackedMatrix> packed_all(std::vector<GuardedMatrix>& w, bool transposed = false) {
    std::vector<PackedMatrix> b;
    for (GuardedMatrix& each : w) b.push_back(packed(each.view(), transposed));
    return b;
  }

  const MatmulKernels& kernel = *GetParam();
  Context context{2};
};

std::vector<const PackedMatrix*> pointers(const std::vector<PackedMatrix>& matrices) {
  std::vector<const PackedMatrix*> result;
  for (const PackedMatrix& each : matrices) result.push_back(&each);
  return result;
}

std::vector<MatrixView<float>> views(std::vector<GuardedMatrix>& matrices) {
  std::vector<MatrixView<float>> result;
  for (GuardedMatrix& each : matrices) result.push_back(each.view());
  return result;
}

std::vector<GuardedMatrix> random_matrices(std::int64_t count, std::int64_t rows, std::int64_t cols,
                                           std::uint64_t seed) {
  std::vector<GuardedMatrix> result;
  for (std::int64_t i = 0; i < count; ++i) {
    result.emplace_back(rows, cols, i % 4, i % 3);
    result.back().randomise(seed + static_cast<std::uint64_t>(i));
  }
  return result;
}

GuardedMatrix transpose(GuardedMatrix& m) {
  GuardedMatrix t(m.view().cols, m.view().rows, 2, 5);
  for (std::int64_t r = 0; r < t.view().rows; ++r) {
    for (std::int64_t c = 0; c < t.view().cols; ++c) t.view()(r, c) = m.view()(c, r);
  }
  return t;
}

struct Shape {
  std::int64_t m, n, k;
};
constexpr Shape kShapes[] = {{0, 5, 7},    {1, 1, 1},     {1, 64, 128},  {2, 33, 17},
                             {7, 31, 32},  {8, 160, 64},  {13, 48, 33},  {14, 32, 63},
                             {15, 65, 31}, {40, 200, 96}, {300, 40, 65}, {5, 300, 300},
                             {3, 7, 0},    {3, 0, 7}};

TEST_P(Matmul, DenseEqualsF64WithinRounding) {
  std::uint64_t seed = 1;
  for (const Shape& s : kShapes) {
    GuardedMatrix x(s.m, s.k, 1, 3), w(s.n, s.k, 5, 2), y(s.m, s.n, 7, 1);
    x.randomise(++seed);
    w.randomise(++seed);
    const auto expected = testing::product_f64(x.view(), w.view(), kernel.compute);
    matmul(context, x.view(), packed(w.view()), y.view());
    y.expect_guards("matmul");
    EXPECT_LE(testing::nmse(y.view(), expected), 1e-12) << s.m << " " << s.n << " " << s.k;

    GuardedMatrix wt = transpose(w), again(s.m, s.n);
    matmul(context, x.view(), packed(wt.view(), true), again.view());
    testing::expect_same_bits(y.view(), again.view(), "packed transposed");

    again.fill(2.0f);
    matmul(context, x.view(), packed(w.view()), again.view(), true);
    again.expect_guards("matmul with accumulate");
    for (std::int64_t r = 0; r < s.m; ++r) {
      for (std::int64_t c = 0; c < s.n; ++c) {
        ASSERT_EQ(again.view()(r, c), 2.0f + y.view()(r, c));
      }
    }
  }
}

TEST_P(Matmul, WeightGradientEqualsF64WithinRounding) {
  std::uint64_t seed = 100;
  for (const Shape& s : {Shape{0, 5, 7},
                         {1, 3, 5},
                         {2, 14, 32},
                         {3, 29, 33},
                         {77, 70, 9},
                         {255, 15, 40},
                         {256, 13, 64},
                         {257, 16, 31},
                         {600, 33, 65}}) {
    GuardedMatrix x(s.m, s.k, 1, 3), dy(s.m, s.n, 5, 2), dw(s.n, s.k, 7, 1);
    x.randomise(++seed);
    dy.randomise(++seed);
    dw.fill(0.0f);
    GuardedMatrix xt = transpose(x), dyt = transpose(dy);
    auto expected = testing::product_f64(dyt.view(), xt.view(), kernel.compute);
    const std::int32_t offsets[] = {0, static_cast<std::int32_t>(s.m)};
    const MatrixView<float> out[] = {dw.view()};
    add_weight_gradients(context, kernel, dy.view(), x.view(), offsets, out);
    dw.expect_guards("weight gradient");
    EXPECT_LE(testing::nmse(dw.view(), expected), 1e-12) << s.m << " " << s.n << " " << s.k;

    add_weight_gradients(context, kernel, dy.view(), x.view(), offsets, out);
    for (double& e : expected) e *= 2;
    EXPECT_LE(testing::nmse(dw.view(), expected), 1e-12) << "added twice";
  }
}

// Groups: ragged with empty ones, one with all rows, a single one, none with rows.
const std::vector<std::vector<std::int32_t>> kOffsets = {{0, 3, 3, 60, 61, 61, 75, 190, 191},
                                                         {0, 0, 0, 191, 191, 191, 191, 191, 191},
                                                         {0, 1, 2, 3, 4, 5, 6, 7, 191},
                                                         {0, 191},
                                                         {0, 0, 0, 0}};

TEST_P(Matmul, GroupsEqualTheirDenseProducts) {
  constexpr std::int64_t kN = 70, kK = 45;
  for (const auto& offsets : kOffsets) {
    const std::int64_t experts = static_cast<std::int64_t>(offsets.size()) - 1;
    GuardedMatrix x(offsets.back(), kK), y(offsets.back(), kN), dense(offsets.back(), kN);
    x.randomise(5);
    auto w = random_matrices(experts, kN, kK, 50);
    const auto b = packed_all(w);
    auto used = pointers(b);
    for (std::size_t e = 0; e < used.size(); ++e) {
      if (offsets[e] == offsets[e + 1]) used[e] = nullptr;  // empty groups need no matrix
    }
    grouped_matmul(context, x.view(), offsets, used, y.view());
    y.expect_guards("grouped_matmul");
    for (std::size_t e = 0; e < used.size(); ++e) {
      const std::int64_t rows = offsets[e + 1] - offsets[e];
      matmul(context, x.view().rows_range(offsets[e], rows), b[e],
             dense.view().rows_range(offsets[e], rows));
    }
    testing::expect_same_bits(y.view(), dense.view(), "grouped and dense");
  }
}

TEST_P(Matmul, GroupedWeightGradientsEqualTheirDenseOnes) {
  constexpr std::int64_t kN = 70, kK = 45;
  for (const auto& offsets : kOffsets) {
    const std::int64_t experts = static_cast<std::int64_t>(offsets.size()) - 1;
    GuardedMatrix x(offsets.back(), kK), dy(offsets.back(), kN);
    x.randomise(5);
    dy.randomise(6);
    auto grouped = random_matrices(experts, kN, kK, 7);
    auto dense = random_matrices(experts, kN, kK, 7);
    add_weight_gradients(context, kernel, dy.view(), x.view(), offsets, views(grouped));
    for (std::size_t e = 0; e < dense.size(); ++e) {
      const std::int32_t rows[] = {0, offsets[e + 1] - offsets[e]};
      const MatrixView<float> out[] = {dense[e].view()};
      add_weight_gradients(context, kernel, dy.view().rows_range(offsets[e], rows[1]),
                           x.view().rows_range(offsets[e], rows[1]), rows, out);
      grouped[e].expect_guards("grouped weight gradient");
      testing::expect_same_bits(grouped[e].view(), dense[e].view(), "grouped and dense");
    }
  }
}

TEST_P(Matmul, SameBitsForAnyNumberOfThreads) {
  constexpr std::int64_t kN = 300, kK = 150;
  const std::vector<std::int32_t> offsets = {0, 400, 403, 403, 520, 521};
  GuardedMatrix x(521, kK), dy(521, kN), y(521, kN), other_y(521, kN);
  x.randomise(1);
  dy.randomise(2);
  auto w = random_matrices(5, kN, kK, 3);
  auto dw = random_matrices(5, kN, kK, 4);
  const auto b = packed_all(w);
  grouped_matmul(context, x.view(), offsets, pointers(b), y.view());
  add_weight_gradients(context, kernel, dy.view(), x.view(), offsets, views(dw));
  for (int threads : {1, 3, 6}) {
    Context other(threads);
    auto other_dw = random_matrices(5, kN, kK, 4);
    grouped_matmul(other, x.view(), offsets, pointers(b), other_y.view());
    testing::expect_same_bits(y.view(), other_y.view(), "threads");
    add_weight_gradients(other, kernel, dy.view(), x.view(), offsets, views(other_dw));
    for (std::size_t e = 0; e < dw.size(); ++e) {
      testing::expect_same_bits(dw[e].view(), other_dw[e].view(), "threads");
    }
    PackedMatrix again;
    again.pack_for(other, kernel, w[0].view());
    EXPECT_EQ(std::memcmp(again.data(), b[0].data(), again.bytes()), 0);
  }
}

TEST_P(Matmul, RowHasTheSameBitsAloneInBatchesAndInGroups) {
  constexpr std::int64_t kRows = 60, kN = 200, kK = 257;
  GuardedMatrix x(kRows, kK), w(kN, kK), all(kRows, kN), part(kRows, kN);
  x.randomise(1);
  w.randomise(2);
  const PackedMatrix b = packed(w.view());
  matmul(context, x.view(), b, all.view());
  for (std::int64_t rows = 1; rows <= kRows; rows = rows * 2 + 1) {
    for (std::int64_t begin = 0; begin + rows <= kRows; begin += rows) {
      matmul(context, x.view().rows_range(begin, rows), b, part.view().rows_range(begin, rows));
      testing::expect_same_bits(all.view().rows_range(begin, rows),
                                part.view().rows_range(begin, rows), "batch");
    }
  }
  const std::vector<std::int32_t> offsets = {0, 1, 1, 4, 31, 32, 60};
  const std::vector<const PackedMatrix*> matrices(offsets.size() - 1, &b);
  part.fill(0.0f);
  grouped_matmul(context, x.view(), offsets, matrices, part.view());
  testing::expect_same_bits(all.view(), part.view(), "groups");
}

// loss = sum(c * (x W^T)): dL/dy = c. The backward pair must give the slope of the loss in f64.
TEST_P(Matmul, BackwardPairIsTheSlopeOfForward) {
  if (kernel.compute != DType::kF32) GTEST_SKIP() << "slopes of rounded operands are steps";
  constexpr std::int64_t kM = 9, kN = 11, kK = 13;
  GuardedMatrix x(kM, kK), w(kN, kK), c(kM, kN), dx(kM, kK), dw(kN, kK);
  x.randomise(1);
  w.randomise(2);
  c.randomise(3);
  dw.fill(0.0f);
  const auto loss = [&](GuardedMatrix& at_x, GuardedMatrix& at_w) {
    const auto y = testing::product_f64(at_x.view(), at_w.view(), DType::kF32);
    double sum = 0;
    for (std::int64_t i = 0; i < kM * kN; ++i) {
      sum += y[static_cast<std::size_t>(i)] * c.view()(i / kN, i % kN);
    }
    return sum;
  };
  matmul(context, c.view(), packed(w.view(), true), dx.view());
  const std::int32_t offsets[] = {0, kM};
  const MatrixView<float> out[] = {dw.view()};
  add_weight_gradients(context, kernel, c.view(), x.view(), offsets, out);
  // The loss is linear in each element, so a wide step of exact f32 numbers has no error of its
  // own.
  const auto slope = [&](float& element) {
    const float value = element;
    element = value + 1;
    const double up = loss(x, w);
    const double step_up = static_cast<double>(element) - value;
    element = value - 1;
    const double down = loss(x, w);
    const double step_down = static_cast<double>(value) - element;
    element = value;
    return (up - down) / (step_up + step_down);
  };
  for (std::int64_t j = 0; j < kK; ++j) {
    for (std::int64_t i = 0; i < kM; ++i) ASSERT_NEAR(dx.view()(i, j), slope(x.view()(i, j)), 1e-5);
    for (std::int64_t i = 0; i < kN; ++i) ASSERT_NEAR(dw.view()(i, j), slope(w.view()(i, j)), 1e-5);
  }
}

TEST_P(Matmul, NonFiniteNumbersStayInTheirRow) {
  GuardedMatrix x(20, 40), w(30, 40), y(20, 30), clean(20, 30);
  x.randomise(1);
  w.randomise(2);
  const PackedMatrix b = packed(w.view());
  matmul(context, x.view(), b, clean.view());
  x.view()(3, 39) = std::numeric_limits<float>::quiet_NaN();
  x.view()(17, 0) = std::numeric_limits<float>::infinity();
  matmul(context, x.view(), b, y.view());
  for (std::int64_t r = 0; r < 20; ++r) {
    for (std::int64_t c = 0; c < 30; ++c) {
      if (r == 3 || r == 17) {
        EXPECT_FALSE(std::isfinite(y.view()(r, c)));
      } else {
        EXPECT_EQ(y.view()(r, c), clean.view()(r, c));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(List, Matmul,
                         ::testing::ValuesIn(kernels::all_matmul_kernels().begin(),
                                             kernels::all_matmul_kernels().end()),
                         [](const auto& param) {
                           return std::string(sys::isa_name(param.param->isa)) + "_" +
                                  dtype_name(param.param->compute);
                         });

TEST(PackedMatrix, TakesTheBestKernelAndBf16WithoutRounding) {
  Context context(2);
  GuardedMatrix w(37, 50, 0);
  w.randomise(9);
  std::vector<bf16> narrow(37 * 50);
  for (std::size_t i = 0; i < narrow.size(); ++i) {
    narrow[i] = to_bf16(w.view().data[i]);
    w.view().data[i] = to_float(narrow[i]);
  }
  for (DType compute : {DType::kF32, DType::kBF16}) {
    for (bool transposed : {false, true}) {
      PackedMatrix a, b;
      EXPECT_EQ(a.kernel(), nullptr);
      a.pack(context, MatrixView<const float>(w.view()), compute, transposed);
      b.pack(context, MatrixView<const bf16>(narrow.data(), 37, 50), compute, transposed);
      EXPECT_EQ(a.kernel(), &kernels::matmul_kernels(sys::best_isa(), compute));
      EXPECT_EQ(a.compute(), compute);
      EXPECT_EQ(a.n(), transposed ? 50 : 37);
      EXPECT_EQ(a.k(), transposed ? 37 : 50);
      ASSERT_EQ(a.bytes(), b.bytes());
      EXPECT_EQ(std::memcmp(a.data(), b.data(), a.bytes()), 0);
      const std::byte* before = a.data();
      a.pack(context, MatrixView<const float>(w.view()), compute, transposed);
      EXPECT_EQ(a.data(), before) << "packing again must reuse the memory";
    }
  }
}

TEST(MatmulDeathTest, WrongShapesAreOurBugs) {
  Context context(1);
  GuardedMatrix x(4, 8), w(6, 8), y(4, 6), narrow(4, 5);
  x.randomise(1);
  PackedMatrix b;
  EXPECT_DEATH(matmul(context, x.view(), b, y.view()), "never packed");
  b.pack(context, MatrixView<const float>(w.view()), DType::kF32);
  EXPECT_DEATH(matmul(context, x.view(), b, narrow.view()), "x \\[4, 8\\]");
  const std::vector<std::int32_t> falls = {0, 3, 2, 4};
  const std::vector<const PackedMatrix*> matrices(3, &b);
  EXPECT_DEATH(grouped_matmul(context, x.view(), falls, matrices, y.view()), "fall");
}

}  // namespace
}  // namespace conclave::ops
