// Packing, quantised activations and products of every kernel of the list that this machine runs.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>

#include "kernels/choice.h"
#include "kernels/matmul/matmul_testing.h"
#include "kernels/qmatmul/qmatmul_kernels.h"
#include "kernels/qmatmul/qmatmul_list.h"
#include "kernels/qmatmul/qmatmul_testing.h"

namespace conclave::kernels {
namespace {

using conclave::testing::GuardedMatrix;
using conclave::testing::quantised_types;
using conclave::testing::random_blocks;

AlignedBuffer pack(QuantType type, const std::vector<std::byte>& blocks, std::int64_t n,
                   std::int64_t k) {
  const QuantLayout& layout = *quant_layout(type);
  AlignedBuffer panels(static_cast<std::size_t>(layout.panels(n) * layout.panel_size(k)));
  const std::int64_t row_bytes = quant_bytes(type, k);
  for (std::int64_t p = 0; p < layout.panels(n); ++p) {
    pack_quant_panel(layout, blocks.data() + p * kQuantPanel * row_bytes, row_bytes,
                     std::min<std::int64_t>(kQuantPanel, n - p * kQuantPanel), k,
                     panels.data() + p * layout.panel_size(k));
  }
  return panels;
}

// A left tile between guard bytes.
struct Left {
  std::vector<std::byte> bytes;
  std::size_t size;
  Left(const QuantKernels& kernel, QuantType type, MatrixView<const float> x)
      : size(static_cast<std::size_t>(kernel.left_layout(type).size(x.rows, x.cols))) {
    bytes.assign(size + 64, std::byte{0x5a});
    std::vector<const float*> rows;
    for (std::int64_t r = 0; r < x.rows; ++r) rows.push_back(x.row(r));
    kernel.quantize_left(type, rows.data(), x.rows, x.cols, bytes.data());
    for (std::size_t i = size; i < bytes.size(); ++i) {
      if (bytes[i] != std::byte{0x5a}) ADD_FAILURE() << "written behind the tile";
    }
  }
};

// x's rows as tiles of one row, joined.
std::vector<std::byte> joined(const QuantKernels& kernel, QuantType type,
                              MatrixView<const float> x) {
  std::vector<Left> singles;
  std::vector<const std::byte*> rows;
  for (std::int64_t r = 0; r < x.rows; ++r) singles.emplace_back(kernel, type, x.rows_range(r, 1));
  for (const Left& single : singles) rows.push_back(single.bytes.data());
  const QuantLeftLayout layout = kernel.left_layout(type);
  std::vector<std::byte> tile(static_cast<std::size_t>(layout.size(x.rows, x.cols)) + 64,
                              std::byte{0x5a});
  join_left_rows(layout, rows.data(), x.rows, x.cols, tile.data());
  return tile;
}

// What the left tile says: x as the product sees it.
GuardedMatrix seen(const QuantKernels& kernel, QuantType type, const Left& left, std::int64_t m,
                   std::int64_t k) {
  const QuantLeftLayout layout = kernel.left_layout(type);
  const auto number = [&](std::int64_t r, std::int64_t i) -> int {
    const std::int64_t block = i / 32 * m + r;
    if (layout.number_bytes == 1) {
      return reinterpret_cast<const std::int8_t*>(left.bytes.data())[block * 32 + i % 32];
    }
    constexpr std::array kPlace = {0, 2, 1, 3};
    return reinterpret_cast<const std::int16_t*>(
        left.bytes.data())[block * 32 + i % 32 / 4 * 4 + kPlace[static_cast<std::size_t>(i % 4)]];
  };
  const auto* scales = reinterpret_cast<const float*>(left.bytes.data() + layout.scales_at(m, k));
  GuardedMatrix x(m, k);
  for (std::int64_t r = 0; r < m; ++r) {
    for (std::int64_t i = 0; i < k; ++i) {
      x.view()(r, i) = scales[i / layout.scale_group * m + r] * static_cast<float>(number(r, i));
    }
  }
  return x;
}

TEST(QuantPanels, RowsComeBackWholeAndNothingElseIsTouched) {
  for (QuantType type : quantised_types()) {
    const QuantLayout& layout = *quant_layout(type);
    for (std::int64_t count : {1, 3, 15, 16}) {
      for (std::int64_t blocks : {1, 2, 5}) {
        const std::int64_t k = blocks * layout.block_count;
        const std::vector<std::byte> rows = random_blocks(type, count * k, 9);
        const std::int64_t row_bytes = quant_bytes(type, k);
        const auto size = static_cast<std::size_t>(layout.panel_size(k));
        std::vector<std::byte> panel(size + 64, std::byte{0xa5});
        pack_quant_panel(layout, rows.data(), row_bytes, count, k, panel.data());
        for (std::size_t i = size; i < panel.size(); ++i) ASSERT_EQ(panel[i], std::byte{0xa5});
        for (int r = 0; r < kQuantPanel; ++r) {
          std::vector<std::byte> row(static_cast<std::size_t>(row_bytes));
          unpack_quant_row(layout, panel.data(), r, k, row.data());
          const std::vector<std::byte> zeros(row.size());
          ASSERT_EQ(std::memcmp(row.data(), r < count ? rows.data() + r * row_bytes : zeros.data(),
                                row.size()),
                    0)
              << quant_info(type).name << " row " << r << " of " << count;
        }
      }
    }
  }
}

TEST(QuantLeft, RoundsToTheNearestOf255LevelsOfTheLargest) {
  for (const QuantKernels& kernel : runnable(quant_kernels())) {
    for (QuantType type : quantised_types()) {
      const int group = kernel.left_layout(type).scale_group;
      GuardedMatrix x(3, 512, 5, 3);
      x.randomise(2);
      for (std::int64_t i = 256; i < 512; ++i) x.view()(1, i) = 0;
      x.view()(2, 0) = -1e-42f;  // alone in its group: a subnormal scale, without an inverse
      for (std::int64_t i = 1; i < group; ++i) x.view()(2, i) = 0;
      const Left left(kernel, type, x.view());
      GuardedMatrix back = seen(kernel, type, left, 3, 512);
      for (std::int64_t r = 0; r < 3; ++r) {
        for (std::int64_t i = 0; i < 512; ++i) {
          float largest = 0;
          for (std::int64_t j = i / group * group; j < (i / group + 1) * group; ++j) {
            largest = std::max(largest, std::fabs(x.view()(r, j)));
          }
          ASSERT_LE(std::fabs(back.view()(r, i) - x.view()(r, i)), std::max(largest / 253, 2e-42f))
              << sys::isa_name(kernel.isa) << " " << quant_info(type).name << " " << r << ", " << i;
        }
      }
    }
  }
}

TEST(QuantLeft, AllInstructionSetsAndJoinedRowsMakeTheSameTile) {
  for (const QuantKernels& kernel : runnable(quant_kernels())) {
    for (QuantType type : quantised_types()) {
      for (std::int64_t m : {1, 7, 32}) {
        GuardedMatrix x(m, 512, 1, 1);
        x.randomise(static_cast<std::uint64_t>(m));
        x.view()(0, 5) = 0.5f / 127 * 100;
        const Left b(kernel, type, x.view());
        std::vector<std::byte> a(b.size, std::byte{0x5a});
        std::vector<const float*> rows;
        for (std::int64_t r = 0; r < m; ++r) rows.push_back(x.view().row(r));
        quantize_left_reference(kernel.left_layout(type), rows.data(), m, 512, a.data());
        ASSERT_EQ(std::memcmp(a.data(), b.bytes.data(), b.size), 0)
            << sys::isa_name(kernel.isa) << " " << quant_info(type).name;
        const std::vector<std::byte> c = joined(kernel, type, x.view());
        ASSERT_EQ(c, b.bytes) << "joined, " << quant_info(type).name;
      }
    }
  }
}

// The integers are exact, so all that is left is the rounding of a few f32 operations a block.
TEST(QuantProduct, EqualsTheF64ProductOfWhatIsStored) {
  for (const QuantKernels& kernel : runnable(quant_kernels())) {
    for (QuantType type : quantised_types()) {
      for (std::int64_t m = 1; m <= kQuantRows; m += m < 18 ? 1 : 7) {
        const std::int64_t n = m * 11 % 50 + 1;
        const std::int64_t k = quant_info(type).block_count * (1 + m % 3);
        const auto blocks = random_blocks(type, n * k, static_cast<std::uint64_t>(m));
        const AlignedBuffer right = pack(type, blocks, n, k);
        std::vector<float> w(static_cast<std::size_t>(n * k));
        dequantize(type, blocks.data(), n * k, w.data());
        GuardedMatrix x(m, k, 4, 1), y(m, n, 3, 2);
        x.randomise(static_cast<std::uint64_t>(m + 100));
        const Left left(kernel, type, x.view());
        kernel.product({type, left.bytes.data(), right.data(), k, m, n, y.view().data,
                        y.view().stride, false});
        y.expect_guards("product");
        GuardedMatrix rounded = seen(kernel, type, left, m, k);
        const auto expected = conclave::testing::product_f64(
            rounded.view(), MatrixView<const float>(w.data(), n, k), DType::kF32);
        EXPECT_LE(conclave::testing::nmse(y.view(), expected), 3e-12)
            << sys::isa_name(kernel.isa) << " " << quant_info(type).name << " " << m << " x " << n
            << " x " << k;
      }
    }
  }
}

TEST(QuantProduct, RowHasTheSameBitsInTilesOfAnySize) {
  for (const QuantKernels& kernel : runnable(quant_kernels())) {
    for (QuantType type : quantised_types()) {
      const std::int64_t n = 21, k = quant_info(type).block_count * 3;
      const AlignedBuffer right = pack(type, random_blocks(type, n * k, 5), n, k);
      GuardedMatrix x(kQuantRows, k), alone(kQuantRows, n);
      x.randomise(6);
      const auto product = [&](MatrixView<const float> rows, MatrixView<float> y) {
        const Left left(kernel, type, rows);
        kernel.product(
            {type, left.bytes.data(), right.data(), k, rows.rows, n, y.data, y.stride, false});
      };
      for (std::int64_t r = 0; r < kQuantRows; ++r) {
        product(x.view().rows_range(r, 1), alone.view().rows_range(r, 1));
      }
      for (std::int64_t m = 2; m <= kQuantRows; ++m) {
        GuardedMatrix y(m, n);
        product(x.view().rows_range(0, m), y.view());
        SCOPED_TRACE(sys::isa_name(kernel.isa));
        conclave::testing::expect_same_bits(alone.view().rows_range(0, m), y.view(),
                                            quant_info(type).name);
      }
    }
  }
}

// Kernels may take panels side by side, and the last one may be in part.
TEST(QuantProduct, ColumnsHaveTheBitsOfPanelsOneByOne) {
  for (const QuantKernels& kernel : runnable(quant_kernels())) {
    for (QuantType type : quantised_types()) {
      for (std::int64_t n : {1, 16, 31, 32, 33, 47, 48, 64, 83}) {
        for (std::int64_t m : {1, 2, 3}) {
          const std::int64_t k = quant_info(type).block_count * (n % 2 == 0 ? 1 : 3);
          const AlignedBuffer right = pack(type, random_blocks(type, n * k, 5), n, k);
          GuardedMatrix x(m, k);
          x.randomise(6);
          const Left left(kernel, type, x.view());
          for (bool accumulate : {false, true}) {
            GuardedMatrix together(m, n, 3, 2), one_by_one(m, n);
            together.randomise(7);
            one_by_one.randomise(7);
            const auto product = [&](std::int64_t column, std::int64_t columns,
                                     MatrixView<float> y) {
              const std::byte* panel =
                  right.data() + column / kQuantPanel * quant_layout(type)->panel_size(k);
              kernel.product({type, left.bytes.data(), panel, k, m, columns, y.data + column,
                              y.stride, accumulate});
            };
            product(0, n, together.view());
            for (std::int64_t column = 0; column < n; column += kQuantPanel) {
              product(column, std::min<std::int64_t>(kQuantPanel, n - column), one_by_one.view());
            }
            SCOPED_TRACE(sys::isa_name(kernel.isa));
            together.expect_guards("side by side");
            conclave::testing::expect_same_bits(one_by_one.view(), together.view(),
                                                quant_info(type).name);
          }
        }
      }
    }
  }
}

// x as ggml quantises it beside a type: blocks of 32 whose scale is rounded to f16 (Q8_0), or of
// 256 with an f32 scale of the largest number's sign (Q8_K).
GuardedMatrix as_ggml(QuantType type, MatrixView<const float> x) {
  const std::int64_t group = quant_left_layout(type, false).scale_group;
  GuardedMatrix rounded(x.rows, x.cols);
  for (std::int64_t r = 0; r < x.rows; ++r) {
    for (std::int64_t at = 0; at < x.cols; at += group) {
      float largest = 0;
      for (std::int64_t i = at; i < at + group; ++i) {
        if (std::fabs(x(r, i)) > std::fabs(largest)) largest = x(r, i);
      }
      const float scale = (group == 32 ? std::fabs(largest) : -largest) / 127;
      const float stored = group == 32 ? to_float(to_f16(scale)) : scale;
      for (std::int64_t i = at; i < at + group; ++i) {
        rounded.view()(r, i) = stored * std::nearbyint(x(r, i) / scale);
      }
    }
  }
  return rounded;
}

TEST(QuantProduct, ErrsNoMoreThanGgmlsActivationsDo) {
  const QuantKernels& kernel = runnable(quant_kernels()).back();
  for (QuantType type : quantised_types()) {
    const std::int64_t m = 16, n = 64, k = 2048;
    const auto blocks = random_blocks(type, n * k, 3);
    std::vector<float> w(static_cast<std::size_t>(n * k));
    dequantize(type, blocks.data(), n * k, w.data());
    const MatrixView<const float> weights(w.data(), n, k);
    GuardedMatrix x(m, k), y(m, n);
    x.randomise(4);
    const Left left(kernel, type, x.view());
    const AlignedBuffer right = pack(type, blocks, n, k);
    kernel.product(
        {type, left.bytes.data(), right.data(), k, m, n, y.view().data, y.view().stride, false});
    const auto exact = conclave::testing::product_f64(x.view(), weights, DType::kF32);
    const auto theirs =
        conclave::testing::product_f64(as_ggml(type, x.view()).view(), weights, DType::kF32);
    double their_error = 0, size = 0;
    for (std::size_t i = 0; i < exact.size(); ++i) {
      their_error += (theirs[i] - exact[i]) * (theirs[i] - exact[i]);
      size += exact[i] * exact[i];
    }
    EXPECT_GT(their_error, 0);
    EXPECT_LE(conclave::testing::nmse(y.view(), exact), 1.02 * their_error / size)
        << quant_info(type).name;
  }
}

// The largest integers there are: no sum may saturate.
TEST(QuantProduct, ExtremesDoNotSaturate) {
  for (const QuantKernels& kernel : runnable(quant_kernels())) {
    for (QuantType type : quantised_types()) {
      const QuantLayout& layout = *quant_layout(type);
      const std::int64_t k = 512, n = 16;
      // The ends of all numbers and scales; 0x77 has the largest E2M1.
      for (int bits : {0x00, 0x7f, 0x80, 0xff, 0x77}) {
        auto blocks = random_blocks(type, n * k, 5);
        for (std::size_t at = 0; at < blocks.size();
             at += static_cast<std::size_t>(layout.block_bytes)) {
          std::byte* block = blocks.data() + at;
          std::fill_n(block + layout.words_at, 4 * layout.n_words, static_cast<std::byte>(bits));
          std::fill_n(block + layout.planes_at, layout.n_planes, static_cast<std::byte>(bits));
        }
        const AlignedBuffer right = pack(type, blocks, n, k);
        std::vector<float> w(static_cast<std::size_t>(n * k));
        dequantize(type, blocks.data(), n * k, w.data());
        // All of one sign, or signs that change every pair of numbers or every 16.
        for (int change : {512, -512, 2, -2, 16, -16}) {
          for (std::int64_t m : {1, 2, 4, 9}) {
            GuardedMatrix x(m, k), y(m, n);
            for (std::int64_t r = 0; r < m; ++r) {
              for (std::int64_t i = 0; i < k; ++i) {
                x.view()(r, i) = (i / std::abs(change) % 2 == 0) == (change > 0) ? 1.0f : -1.0f;
              }
            }
            const Left left(kernel, type, x.view());
            kernel.product({type, left.bytes.data(), right.data(), k, m, n, y.view().data,
                            y.view().stride, false});
            const auto expected = conclave::testing::product_f64(
                seen(kernel, type, left, m, k).view(), MatrixView<const float>(w.data(), n, k),
                DType::kF32);
            double size = 0;
            for (float value : w) size = std::max(size, std::fabs(static_cast<double>(value)));
            for (std::int64_t r = 0; r < m; ++r) {
              for (std::int64_t c = 0; c < n; ++c) {
                ASSERT_NEAR(y.view()(r, c), expected[static_cast<std::size_t>(r * n + c)],
                            2e-4 * size * std::sqrt(static_cast<double>(k)))
                    << sys::isa_name(kernel.isa) << " " << quant_info(type).name << " " << bits
                    << ", rows " << m;
              }
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace conclave::kernels
