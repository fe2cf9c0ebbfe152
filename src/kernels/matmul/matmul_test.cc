// Every kernel of the list that this machine can run.
#include "kernels/matmul/matmul_kernels.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <limits>

#include "kernels/matmul/matmul_testing.h"

namespace conclave::kernels {
namespace {

using testing::GuardedMatrix;

class MatmulKernel : public ::testing::TestWithParam<const MatmulKernels*> {
 protected:
  void SetUp() override {
    if (kernel.isa > sys::machine_isa()) GTEST_SKIP() << "needs " << sys::isa_name(kernel.isa);
  }

  AlignedBuffer left(MatrixView<const float> x) const {
    AlignedBuffer packed(static_cast<std::size_t>(kernel.left_size(x.rows, x.cols)));
    kernel.left_by_rows(x.data, x.stride, x.rows, x.cols, packed.data());
    return packed;
  }
  AlignedBuffer right(MatrixView<const float> w) const {
    const std::int64_t size = kernel.panel_size(w.cols);
    AlignedBuffer packed(static_cast<std::size_t>(kernel.panels(w.rows) * size));
    for (std::int64_t p = 0; p < kernel.panels(w.rows); ++p) {
      kernel.right_by_rows(w.row(p * kernel.panel), w.stride,
                           std::min<std::int64_t>(kernel.panel, w.rows - p * kernel.panel), w.cols,
                           packed.data() + p * size);
    }
    return packed;
  }
  void product(MatrixView<const float> x, MatrixView<const float> w, MatrixView<float> y,
               bool accumulate = false) const {
    const AlignedBuffer l = left(x);
    const AlignedBuffer r = right(w);
    kernel.product(
        {l.data(), r.data(), kernel.units(x.cols), x.rows, w.rows, y.data, y.stride, accumulate});
  }

  const MatmulKernels& kernel = *GetParam();
};

TEST_P(MatmulKernel, ProductEqualsF64WithinRounding) {
  std::vector<std::int64_t> rows, columns;
  for (std::int64_t m = 1; m <= kernel.rows; ++m) rows.push_back(m);
  for (std::int64_t n = 0; n <= 2 * kernel.panel + 1; ++n) columns.push_back(n);
  for (std::int64_t n : {4, 5, 7}) columns.push_back(n * kernel.panel + n % 2);
  std::uint64_t seed = 0;
  for (std::int64_t m : rows) {
    for (std::int64_t n : columns) {
      const std::int64_t k = static_cast<std::int64_t>(++seed * 7 % 70);
      GuardedMatrix x(m, k, seed % 5, seed % 3), w(n, k, seed % 4, seed % 7);
      GuardedMatrix y(m, n, seed % 6, seed % 16);
      x.randomise(seed);
      w.randomise(seed + 1000000);
      product(x.view(), w.view(), y.view());
      y.expect_guards("product");
      const auto expected = testing::product_f64(x.view(), w.view(), kernel.compute);
      ASSERT_LE(testing::nmse(y.view(), expected), 1e-12) << m << " x " << n << " x " << k;

      GuardedMatrix sum(m, n);
      sum.fill(0.5f);
      product(x.view(), w.view(), sum.view(), true);
      sum.expect_guards("accumulated product");
      for (std::int64_t r = 0; r < m; ++r) {
        for (std::int64_t c = 0; c < n; ++c) {
          ASSERT_EQ(sum.view()(r, c), 0.5f + y.view()(r, c)) << m << " x " << n << " x " << k;
        }
      }
    }
  }
}

TEST_P(MatmulKernel, PackingByColumnsIsPackingTheTranspose) {
  for (std::int64_t count = 1; count <= kernel.panel; ++count) {
    for (std::int64_t k : {1, 2, 3, 7, 16, 17, 31, 32, 33, 66}) {
      GuardedMatrix x(count, k), xt(k, count, 5, 2);
      x.randomise(static_cast<std::uint64_t>(count * 100 + k));
      for (std::int64_t r = 0; r < count; ++r) {
        for (std::int64_t c = 0; c < k; ++c) xt.view()(c, r) = x.view()(r, c);
      }
      if (count <= kernel.rows) {
        const std::size_t left_bytes =
            static_cast<std::size_t>(count * kernel.units(k) * kernel.left_bytes);
        const AlignedBuffer a = left(x.view());
        AlignedBuffer b(static_cast<std::size_t>(kernel.left_size(count, k)));
        kernel.left_by_columns(xt.view().data, xt.view().stride, count, k, b.data());
        ASSERT_EQ(std::memcmp(a.data(), b.data(), left_bytes), 0) << count << " x " << k;
      }

      const AlignedBuffer c = right(x.view());
      AlignedBuffer d(static_cast<std::size_t>(kernel.panel_size(k)));
      kernel.right_by_columns(xt.view().data, xt.view().stride, count, k, d.data());
      ASSERT_EQ(std::memcmp(c.data(), d.data(), d.size()), 0) << count << " x " << k;
    }
  }
}

TEST_P(MatmulKernel, PackingBf16IsPackingItsF32) {
  for (std::int64_t count : {1, 7, 8, 9, 15, 16, 17, 31, 32}) {
    if (count > kernel.panel) continue;
    for (std::int64_t k : {1, 2, 15, 16, 17, 33, 65}) {
      GuardedMatrix x(count, k, 0);
      x.randomise(static_cast<std::uint64_t>(count * 100 + k));
      std::vector<bf16> narrow(static_cast<std::size_t>(count * k));
      for (std::int64_t i = 0; i < count * k; ++i) {
        narrow[static_cast<std::size_t>(i)] = to_bf16(x.view().data[i]);
        x.view().data[i] = to_float(narrow[static_cast<std::size_t>(i)]);
      }
      const AlignedBuffer a = right(x.view());
      AlignedBuffer b(a.size());
      kernel.right_by_rows_bf16(narrow.data(), k, count, k, b.data());
      ASSERT_EQ(std::memcmp(a.data(), b.data(), a.size()), 0) << count << " x " << k;

      // The same elements as [count, k] = [k', count'].
      if (k > kernel.panel) continue;
      AlignedBuffer c(static_cast<std::size_t>(kernel.panel_size(count)));
      AlignedBuffer d(c.size());
      kernel.right_by_columns(x.view().data, k, k, count, c.data());
      kernel.right_by_columns_bf16(narrow.data(), k, k, count, d.data());
      ASSERT_EQ(std::memcmp(c.data(), d.data(), c.size()), 0) << count << " x " << k;
    }
  }
}

// Sources that end exactly where memory ends, and start where it starts.
TEST_P(MatmulKernel, PackingReadsNothingOutside) {
  const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t usable = 8 * page;
  void* map = mmap(nullptr, usable + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(map, MAP_FAILED);
  auto* start = static_cast<std::byte*>(map) + page;
  ASSERT_EQ(mprotect(start, usable, PROT_READ | PROT_WRITE), 0);
  for (std::int64_t count = 1; count <= kernel.panel; ++count) {
    for (std::int64_t k : {1, 2, 3, 16, 17, 31, 33, 50}) {
      AlignedBuffer packed(
          static_cast<std::size_t>(kernel.left_size(count, k) + kernel.panel_size(k)));
      const std::size_t n = static_cast<std::size_t>(count * k);
      for (std::byte* base : {start, start + usable - n * sizeof(float)}) {
        const auto* source = reinterpret_cast<const float*>(base);
        if (count <= kernel.rows) {
          kernel.left_by_rows(source, k, count, k, packed.data());
          kernel.left_by_columns(source, count, count, k, packed.data());
        }
        kernel.right_by_rows(source, k, count, k, packed.data());
        kernel.right_by_columns(source, count, count, k, packed.data());
      }
      for (std::byte* base : {start, start + usable - n * sizeof(bf16)}) {
        const auto* source = reinterpret_cast<const bf16*>(base);
        kernel.right_by_rows_bf16(source, k, count, k, packed.data());
        kernel.right_by_columns_bf16(source, count, count, k, packed.data());
      }
    }
  }
  munmap(map, usable + 2 * page);
}

TEST_P(MatmulKernel, RowHasTheSameBitsAloneAndInAnyTile) {
  const std::int64_t most = kernel.rows;
  for (std::int64_t k : {5, 64, 301}) {
    const std::int64_t n = 5 * kernel.panel + 3;
    GuardedMatrix x(most, k), w(n, k), one(1, n), many(most, n);
    x.randomise(1);
    w.randomise(2);
    for (std::int64_t m = 1; m <= most; ++m) {
      product(x.view().rows_range(0, m), w.view(), many.view().rows_range(0, m));
      for (std::int64_t r = 0; r < m; ++r) {
        product(x.view().rows_range(r, 1), w.view(), one.view());
        testing::expect_same_bits(one.view(), many.view().rows_range(r, 1), "row in a tile");
      }
    }
  }
}

TEST_P(MatmulKernel, NonFiniteNumbersPropagate) {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (float bad : {inf, -inf, nan}) {
    for (std::int64_t at : {0, 1, 32}) {
      GuardedMatrix x(3, 33), w(5, 33), y(3, 5);
      x.fill(1.0f);
      w.fill(1.0f);
      x.view()(1, at) = bad;
      product(x.view(), w.view(), y.view());
      for (std::int64_t c = 0; c < 5; ++c) {
        EXPECT_EQ(y.view()(0, c), 33.0f);
        EXPECT_EQ(y.view()(2, c), 33.0f);
        if (std::isnan(bad)) {
          EXPECT_TRUE(std::isnan(y.view()(1, c)));
        } else {
          EXPECT_EQ(y.view()(1, c), bad);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(List, MatmulKernel,
                         ::testing::ValuesIn(all_matmul_kernels().begin(),
                                             all_matmul_kernels().end()),
                         [](const auto& param) {
                           return std::string(sys::isa_name(param.param->isa)) + "_" +
                                  dtype_name(param.param->compute);
                         });

TEST(MatmulKernelChoice, StrongestThatTheMachineAllows) {
  for (DType compute : {DType::kF32, DType::kBF16}) {
    EXPECT_EQ(matmul_kernels(sys::Isa::kReference, compute).isa, sys::Isa::kReference);
    EXPECT_EQ(matmul_kernels(sys::Isa::kAvx2, compute).isa, sys::Isa::kAvx2);
    EXPECT_EQ(matmul_kernels(sys::Isa::kAvx512, compute).isa, sys::Isa::kAvx512);
  }
  EXPECT_EQ(matmul_kernels(sys::Isa::kAvx512Bf16, DType::kF32).isa, sys::Isa::kAvx512);
  EXPECT_EQ(matmul_kernels(sys::Isa::kAvx512Bf16, DType::kBF16).isa, sys::Isa::kAvx512Bf16);
}

}  // namespace
}  // namespace conclave::kernels
