#include "inspect/pair_chance.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

#include "base/rng.h"

namespace conclave::inspect {
namespace {

using Counts = std::vector<std::int64_t>;

std::vector<double> row_sums(const auto& table, std::size_t n) {
  std::vector<double> sums(n, 0);
  for (std::size_t i = 0; i < n * n; ++i) {
    if (i / n != i % n) sums[i / n] += static_cast<double>(table[i]);
  }
  return sums;
}

TEST(ExpectedPairs, AUniformRouterIsAtChance) {
  Counts pairs(16, 10);
  for (std::size_t i = 0; i < 4; ++i) pairs[i * 5] = 30;  // the diagonal plays no part
  const std::vector<double> expected = expected_pairs(pairs, 4);
  for (std::size_t i = 0; i < 16; ++i) EXPECT_NEAR(expected[i], i % 5 == 0 ? 0 : 10, 1e-4);
}

TEST(ExpectedPairs, ProductsAreAtChanceHoweverUnevenTheLoad) {
  const std::vector<std::int64_t> w = {1, 2, 30, 4, 17};
  Counts pairs;
  for (const auto a : w) {
    for (const auto b : w) pairs.push_back(a * b);
  }
  const std::vector<double> expected = expected_pairs(pairs, 5);
  for (std::size_t i = 0; i < 25; ++i) {
    if (i % 6 == 0) continue;
    EXPECT_NEAR(expected[i] / static_cast<double>(pairs[i]), 1, 1e-5) << i;
  }
}

TEST(ExpectedPairs, KeepsTheNumberOfPartners) {
  const Rng rng(3);
  constexpr std::size_t kExperts = 9;
  Counts pairs(kExperts * kExperts, 0);
  for (std::size_t a = 0; a < kExperts; ++a) {
    for (std::size_t b = 0; b < a; ++b) {
      pairs[a * kExperts + b] = pairs[b * kExperts + a] =
          static_cast<std::int64_t>(rng.below(a * kExperts + b, 100));
    }
  }
  const auto expected = expected_pairs(pairs, kExperts);
  const auto wanted = row_sums(pairs, kExperts);
  const auto found = row_sums(expected, kExperts);
  for (std::size_t a = 0; a < kExperts; ++a) EXPECT_NEAR(found[a] / wanted[a], 1, 1e-5);
}

// One expert in every token: the others can only be paired with it, which is then no preference.
TEST(ExpectedPairs, OneExpertInEveryTokenIsTheLimit) {
  const Counts pairs = {0, 50, 30, 20, 50, 0, 0, 0, 30, 0, 0, 0, 20, 0, 0, 0};
  const auto expected = expected_pairs(pairs, 4);
  for (const double value : expected) ASSERT_TRUE(std::isfinite(value));
  EXPECT_NEAR(expected[1], 50, 2);
  EXPECT_NEAR(expected[3], 20, 2);
  EXPECT_LT(expected[1 * 4 + 2], 2);
}

TEST(ExpectedPairs, NothingCounted) {
  EXPECT_EQ(expected_pairs(Counts(9, 0), 3), std::vector<double>(9, 0));
  EXPECT_EQ(expected_pairs(Counts{12}, 1), std::vector<double>{0});
  EXPECT_TRUE(expected_pairs({}, 0).empty());
  // One pair only, and an expert that nothing was counted for.
  const auto expected = expected_pairs(Counts{0, 8, 0, 8, 0, 0, 0, 0, 0}, 3);
  EXPECT_NEAR(expected[1], 8, 1e-4);
  EXPECT_EQ(expected[2], 0);
}

}  // namespace
}  // namespace conclave::inspect
