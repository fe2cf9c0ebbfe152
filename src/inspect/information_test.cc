#include "inspect/information.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/rng.h"

namespace conclave::inspect {
namespace {

using Counts = std::vector<std::int64_t>;

// The table of two labellings of the same tokens.
Counts table_of(const std::vector<int>& rows, const std::vector<int>& columns, int n_rows,
                int n_columns) {
  Counts table(static_cast<std::size_t>(n_rows * n_columns), 0);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    ++table[static_cast<std::size_t>(rows[i] * n_columns + columns[i])];
  }
  return table;
}

TEST(Entropy, HandComputed) {
  EXPECT_NEAR(entropy(Counts{1, 1}), std::log(2), 1e-15);
  EXPECT_NEAR(entropy(Counts{5, 5, 5, 5, 0}), std::log(4), 1e-15);
  EXPECT_NEAR(entropy(Counts{3, 1}), 0.5623351446188083, 1e-15);
  EXPECT_EQ(entropy(Counts{7}), 0);
  EXPECT_EQ(entropy(Counts{0, 0}), 0);
  EXPECT_EQ(entropy(Counts{}), 0);
}

TEST(MutualInformation, HandComputed) {
  // 3/4 ln(3/2) + 1/4 ln(1/2), over ln 2.
  const Counts table = {3, 1, 1, 3};
  EXPECT_NEAR(mutual_information(table, 2), 0.13081203594113694, 1e-15);
  const auto both = normalised_information(table, 2);
  ASSERT_TRUE(both);
  EXPECT_NEAR(both->nmi, 0.18872187554086717, 1e-14);
}

TEST(MutualInformation, IdenticalPartitionsAreOneAndIndependentOnesZero) {
  EXPECT_NEAR(normalised_information(Counts{40, 0, 0, 0, 0, 9, 0, 25, 0}, 3)->nmi, 1, 1e-14);
  EXPECT_NEAR(normalised_information(Counts{2, 4, 6, 5, 10, 15}, 3)->nmi, 0, 1e-14);
  // Every expert reads one label, but labels have two experts each: I = H(label) = ln 2 and
  // H(expert) = ln 4, so the geometric form gives 1/sqrt(2).
  EXPECT_NEAR(normalised_information(Counts{5, 5, 0, 0, 0, 0, 5, 5}, 4)->nmi, std::sqrt(0.5),
              1e-14);
}

TEST(MutualInformation, NothingToTell) {
  EXPECT_FALSE(normalised_information(Counts{0, 0, 0, 0}, 2));
  EXPECT_FALSE(normalised_information(Counts{3, 4}, 2));
  EXPECT_FALSE(normalised_information(Counts{3, 4, 0, 0}, 2));
  const auto collapsed = normalised_information(Counts{3, 0, 4, 0}, 2);
  ASSERT_TRUE(collapsed);
  EXPECT_EQ(collapsed->nmi, 0);
  EXPECT_EQ(collapsed->nmi_random, 0);
  EXPECT_EQ(mutual_information(Counts{}, 3), 0);
  EXPECT_EQ(expected_mutual_information(Counts{0, 0}, 2), 0);
}

// The definition: the mean over all permutations of one labelling.
TEST(ExpectedInformation, EqualsTheMeanOverAllPermutations) {
  const std::vector<int> rows = {0, 0, 0, 0, 1, 1, 1, 2, 2};
  std::vector<int> columns = {0, 0, 0, 1, 1, 1, 1, 2, 2};
  const double expected = expected_mutual_information(table_of(rows, columns, 3, 3), 3);
  std::sort(columns.begin(), columns.end());
  double sum = 0;
  int n = 0;
  do {
    sum += mutual_information(table_of(rows, columns, 3, 3), 3);
    ++n;
  } while (std::next_permutation(columns.begin(), columns.end()));
  EXPECT_EQ(n, 362'880 / (6 * 24 * 2));  // 9! / (3! 4! 2!)
  EXPECT_NEAR(expected, sum / n, 1e-13);
}

TEST(ExpectedInformation, EqualsTheMeanOverShuffles) {
  const Rng rng(7);
  std::vector<int> rows(3000), columns(3000);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i] = static_cast<int>(i % 5);
    columns[i] = static_cast<int>(i * i / 1000 % 7);
  }
  const double expected = expected_mutual_information(table_of(rows, columns, 5, 7), 7);
  double sum = 0;
  constexpr int kShuffles = 300;
  std::uint64_t counter = 0;
  for (int n = 0; n < kShuffles; ++n) {
    for (std::size_t i = columns.size(); i > 1; --i) {
      std::swap(columns[i - 1], columns[rng.below(counter++, i)]);
    }
    sum += mutual_information(table_of(rows, columns, 5, 7), 7);
  }
  // 2 N I is about chi-squared with 24 degrees of freedom, so the mean of 300 is known to 1.7 %.
  EXPECT_NEAR(sum / kShuffles / expected, 1, 0.07);
}

// For large N the expectation tends to (R-1)(C-1) / 2N.
TEST(ExpectedInformation, LargeCountsStayExactAndFast) {
  const Counts table(8 * 64, 200'000);  // 102 million tokens
  EXPECT_NEAR(expected_mutual_information(table, 64) / (7.0 * 63 / (2 * 102.4e6)), 1, 1e-4);
  // Row sums of one: I is the entropy of the columns, whatever the permutation.
  EXPECT_NEAR(expected_mutual_information(Counts{1, 0, 1, 0, 0, 1, 1, 0}, 2), entropy(Counts{3, 1}),
              1e-14);
}

// Counts of two published models (see shared/data): the one with 64 small experts tells the domains
// apart much better than the one with 8 large ones, and both far better than chance.
TEST(NormalisedInformation, RealModels) {
  std::ifstream file(CONCLAVE_SOURCE_DIR "/../shared/data/routing/routing_counts.json");
  if (!file) GTEST_SKIP() << "shared/data/routing is not there";
  const auto models = nlohmann::json::parse(file)["models"];
  std::vector<double> best;
  for (const auto& model : models) {
    const std::size_t n_layers = model["layers"].size();
    double most = 0;
    for (std::size_t layer = 0; layer < n_layers; ++layer) {
      Counts table;
      for (const auto& domain : model["counts"]) {
        for (const auto& count : domain.at(layer)) table.push_back(count.get<std::int64_t>());
      }
      const auto figures = normalised_information(table, model["experts"].get<int>());
      ASSERT_TRUE(figures);
      EXPECT_GT(figures->nmi, 20 * figures->nmi_random);
      most = std::max(most, figures->nmi);
    }
    best.push_back(most);
  }
  ASSERT_EQ(best.size(), 2u);
  EXPECT_GT(std::max(best[0], best[1]), 5 * std::min(best[0], best[1]));
}

}  // namespace
}  // namespace conclave::inspect
