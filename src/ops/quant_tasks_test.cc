// Products with quantised weights, dense and grouped, with every kernel this machine can run,
// against sums in f64, and bit for bit over threads, batches and groups.
#include "ops/quant_tasks.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "kernels/choice.h"
#include "kernels/matmul/matmul_testing.h"
#include "kernels/qmatmul/qmatmul_testing.h"
#include "ops/pointwise.h"

namespace conclave::ops {
namespace {

using kernels::QuantKernels;
using testing::GuardedMatrix;
using testing::quantised_types;

// A quantised weight, and what it says in f32.
struct Weight {
  std::vector<std::vector<std::byte>> blocks;
  std::vector<BlockRows> parts;
  std::vector<float> values;  // [n, k]
  std::int64_t n = 0, k = 0;
  PackedMatrix packed;

  MatrixView<const float> view() const { return {values.data(), n, k}; }
};

Weight make_weight(Context& context, std::int64_t k,
                   const std::vector<std::pair<QuantType, std::int64_t>>& parts,
                   std::uint64_t seed) {
  Weight w;
  w.k = k;
  for (const auto& [type, n] : parts) {
    w.blocks.push_back(testing::random_blocks(type, n * k, ++seed));
    w.parts.push_back({type, n, w.blocks.back()});
    w.values.resize(static_cast<std::size_t>((w.n + n) * k));
    dequantize(type, w.blocks.back().data(), n * k, w.values.data() + w.n * k);
    w.n += n;
  }
  w.packed.pack_blocks(context, k, w.parts);
  return w;
}

void multiply(Context& context, const QuantKernels& kernel, MatrixView<const float> x,
              const Weight& w, MatrixView<float> y, bool accumulate = false) {
  const std::int32_t offsets[] = {0, static_cast<std::int32_t>(x.rows)};
  const PackedMatrix* const matrices[] = {&w.packed};
  multiply_quant_groups(context, kernel, x, offsets, matrices, y, accumulate);
}

std::int64_t block_of(QuantType type) { return quant_info(type).block_count; }

TEST(QuantMatmul, EqualsTheF64ProductWithinTheErrorOfInt8Activations) {
  Context context(1);
  for (const QuantKernels& kernel : kernels::runnable(kernels::quant_kernels())) {
    for (QuantType type : quantised_types()) {
      std::uint64_t seed = 1;
      for (std::int64_t m : {1, 2, 3, 5, 8, 9, 17, 33, 70}) {
        for (std::int64_t blocks : {1, 3}) {
          const std::int64_t n = m * 7 % 40 + 1;
          const Weight w = make_weight(context, blocks * block_of(type), {{type, n}}, ++seed);
          GuardedMatrix x(m, w.k, 3, 2), y(m, n, 5, 1);
          x.randomise(++seed);
          multiply(context, kernel, x.view(), w, y.view());
          y.expect_guards("quantised product");
          const auto expected = testing::product_f64(x.view(), w.view(), DType::kF32);
          EXPECT_LE(testing::nmse(y.view(), expected), 1e-3)
              << sys::isa_name(kernel.isa) << " " << quant_info(type).name << " " << m << " x " << n
              << " x " << w.k;
          GuardedMatrix sum(m, n);
          sum.fill(0.5f);
          multiply(context, kernel, x.view(), w, sum.view(), true);
          sum.expect_guards("accumulated product");
          for (std::int64_t r = 0; r < m; ++r) {
            for (std::int64_t c = 0; c < n; ++c) {
              ASSERT_EQ(sum.view()(r, c), 0.5f + y.view()(r, c));
            }
          }
        }
      }
    }
  }
}

TEST(QuantMatmul, RowHasTheSameBitsAloneInBatchesInGroupsAndOverThreads) {
  for (const QuantKernels& kernel : kernels::runnable(kernels::quant_kernels())) {
    if (kernel.isa == sys::Isa::kReference) continue;
    for (QuantType type : quantised_types()) {
      Context one(1);
      const std::int64_t m = 75, n = 83, k = 512;
      const Weight w = make_weight(one, k, {{type, n}}, 7);
      GuardedMatrix x(m, k), whole(m, n);
      x.randomise(3);
      multiply(one, kernel, x.view(), w, whole.view());
      for (int threads : {1, 2, 3}) {
        Context context(threads);
        GuardedMatrix y(m, n);
        multiply(context, kernel, x.view(), w, y.view());
        testing::expect_same_bits(whole.view(), y.view(), "threads");
        // Groups of 1, 2, 3, ... rows, some empty, all with the same matrix.
        std::vector<std::int32_t> offsets = {0};
        for (std::int32_t rows = 1; offsets.back() < m; ++rows) {
          offsets.push_back(
              std::min<std::int32_t>(static_cast<std::int32_t>(m), offsets.back() + rows));
          if (rows % 3 == 0) offsets.push_back(offsets.back());
        }
        const std::vector<const PackedMatrix*> matrices(offsets.size() - 1, &w.packed);
        y.fill(0);
        multiply_quant_groups(context, kernel, x.view(), offsets, matrices, y.view(), false);
        testing::expect_same_bits(whole.view(), y.view(), "groups");
      }
      for (std::int64_t r : {0, 9, 74}) {
        GuardedMatrix y(1, n);
        multiply(one, kernel, x.view().rows_range(r, 1), w, y.view());
        testing::expect_same_bits(whole.view().rows_range(r, 1), y.view(), "alone");
      }
    }
  }
}

TEST(QuantMatmul, ExpertsAndPartsOfDifferentTypes) {
  Context context(2);
  const std::int64_t k = 256;
  std::vector<Weight> w;
  w.push_back(make_weight(context, k, {{QuantType::kQ4_K, 37}, {QuantType::kQ6_K, 20}}, 1));
  w.push_back(make_weight(context, k, {{QuantType::kQ8_0, 57}}, 2));
  w.push_back(make_weight(context, k, {{QuantType::kQ4_0, 1}, {QuantType::kMXFP4, 56}}, 3));
  const std::vector<const PackedMatrix*> matrices = {&w[0].packed, nullptr, &w[1].packed,
                                                     &w[2].packed};
  const std::vector<std::int32_t> offsets = {0, 40, 40, 41, 50};
  GuardedMatrix x(50, k), y(50, 57);
  x.randomise(5);
  grouped_matmul(context, x.view(), offsets, matrices, y.view());
  y.expect_guards("grouped");
  const std::int64_t begins[] = {0, 40, 41}, counts[] = {40, 1, 9};
  for (std::size_t g = 0; g < 3; ++g) {
    GuardedMatrix alone(counts[g], 57);
    matmul(context, x.view().rows_range(begins[g], counts[g]), w[g].packed, alone.view());
    testing::expect_same_bits(alone.view(), y.view().rows_range(begins[g], counts[g]), "group");
    const auto expected =
        testing::product_f64(x.view().rows_range(begins[g], counts[g]), w[g].view(), DType::kF32);
    EXPECT_LE(testing::nmse(alone.view(), expected), 1e-3);
  }
}

// As files with a tensor for each expert may have them.
TEST(QuantMatmul, QuantisedExpertsBesideOthers) {
  Context context(2);
  const Weight w = make_weight(context, 64, {{QuantType::kQ8_0, 21}}, 1);
  PackedMatrix f32, bf16;
  f32.pack(context, w.view(), DType::kF32);
  bf16.pack(context, w.view(), DType::kBF16);
  const std::vector<const PackedMatrix*> matrices = {&w.packed, &bf16, nullptr, &f32};
  const std::vector<std::int32_t> offsets = {0, 3, 5, 5, 9};
  GuardedMatrix x(9, 64), y(9, 21);
  x.randomise(5);
  grouped_matmul(context, x.view(), offsets, matrices, y.view());
  y.expect_guards("grouped");
  for (std::size_t e : {0u, 1u, 3u}) {
    const std::int64_t begin = offsets[e], rows = offsets[e + 1] - begin;
    GuardedMatrix alone(rows, 21);
    matmul(context, x.view().rows_range(begin, rows), *matrices[e], alone.view());
    testing::expect_same_bits(alone.view(), y.view().rows_range(begin, rows), "expert");
  }
}

TEST(QuantMatmul, NonFiniteNumbersStayInTheirRow) {
  Context context(1);
  for (const QuantKernels& kernel : kernels::runnable(kernels::quant_kernels())) {
    for (QuantType type : quantised_types()) {
      const Weight w = make_weight(context, 512, {{type, 19}}, 11);
      for (float bad : {HUGE_VALF, -HUGE_VALF, std::nanf("")}) {
        GuardedMatrix x(10, 512), y(10, 19), clean(10, 19);
        x.randomise(4);
        multiply(context, kernel, x.view(), w, clean.view());
        x.view()(8, 300) = bad;
        multiply(context, kernel, x.view(), w, y.view());
        for (std::int64_t r = 0; r < 10; ++r) {
          if (r != 8) {
            testing::expect_same_bits(clean.view().rows_range(r, 1), y.view().rows_range(r, 1),
                                      "clean row");
            continue;
          }
          for (std::int64_t c = 0; c < 19; ++c) EXPECT_FALSE(std::isfinite(y.view()(8, c)));
        }
      }
    }
  }
}

TEST(QuantMatmul, RowsComeBackAsTheyWere) {
  Context context(2);
  for (QuantType type : quantised_types()) {
    const Weight w =
        make_weight(context, 3 * block_of(type), {{type, 35}, {QuantType::kQ8_0, 3}}, 21);
    std::vector<float> row(static_cast<std::size_t>(w.k));
    for (std::int64_t i = 0; i < w.n; ++i) {
      w.packed.decode_row(i, row.data());
      ASSERT_EQ(std::memcmp(row.data(), w.view().row(i), row.size() * sizeof(float)), 0)
          << quant_info(type).name << " row " << i;
    }
    const std::vector<std::int32_t> ids = {34, 0, 37, 16};
    GuardedMatrix x(4, w.k);
    embedding_forward(context, w.packed, ids, x.view());
    x.expect_guards("embedding");
    for (std::int64_t t = 0; t < 4; ++t) {
      ASSERT_EQ(std::memcmp(x.view().row(t), w.view().row(ids[static_cast<std::size_t>(t)]),
                            row.size() * sizeof(float)),
                0);
    }
  }
}

TEST(QuantMatmul, PackingKeepsTheSizeOfTheBlocks) {
  Context context(1);
  for (QuantType type : quantised_types()) {
    const Weight w = make_weight(context, 1024, {{type, 64}}, 31);
    EXPECT_EQ(w.packed.bytes(), static_cast<std::size_t>(quant_bytes(type, 64 * 1024)))
        << quant_info(type).name;
  }
}

}  // namespace
}  // namespace conclave::ops
