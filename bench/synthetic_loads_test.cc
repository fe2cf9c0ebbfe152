#include "synthetic_loads.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "base/error.h"
#include "base/rng.h"
#include "sys/files.h"

namespace conclave {
namespace {

// Skewed like those of published models: the busiest of 64 takes six times the mean.
std::vector<double> skewed(std::size_t n) {
  std::vector<double> shares(n);
  for (std::size_t e = 0; e < n; ++e) shares[e] = std::exp(-3.0 * static_cast<double>(e) / 16);
  for (std::size_t e = 16; e < n; ++e) shares[e] = 0.12;
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  for (double& share : shares) share /= sum;
  return shares;
}

TEST(SyntheticLoads, BiasesGiveTheSharesToOtherTokens) {
  constexpr std::size_t kExperts = 64, kTokens = 8192;
  constexpr int kK = 8;
  const std::vector<double> shares = skewed(kExperts);
  ASSERT_GT(*std::max_element(shares.begin(), shares.end()) * kExperts, 5);
  const std::vector<float> elements = router_biases(shares, kK);
  std::vector<double> counts(kExperts);
  const Rng rng(987);
  for (std::size_t t = 0; t < kTokens; ++t) {
    std::vector<std::pair<double, std::size_t>> logits;
    for (std::size_t e = 0; e < kExperts; ++e) {
      logits.emplace_back(rng.normal(t * kExperts + e) + kBiasElement * elements[e], e);
    }
    std::sort(logits.begin(), logits.end(), std::greater<>());
    for (std::size_t i = 0; i < kK; ++i) ++counts[logits[i].second];
  }
  for (std::size_t e = 0; e < kExperts; ++e) {
    const double wanted = shares[e] * kTokens * kK;
    EXPECT_NEAR(counts[e], wanted, 0.05 * wanted + 5 * std::sqrt(wanted)) << e;
  }
}

class LoadsFile : public ::testing::Test {
 protected:
  std::vector<std::vector<double>> read(const std::string& text, int layers, int experts) {
    sys::write_file_atomically(path_, text);
    return read_loads(path_, "web", layers, experts);
  }
  void expect_refused(const std::string& text) {
    try {
      read(text, 2, 4);
      ADD_FAILURE() << "taken: " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadFile) << text;
    }
  }
  std::string path_ = ::testing::TempDir() + "synthetic_loads_test.json";
};

TEST_F(LoadsFile, SharesOfLayersAndResampledOnes) {
  const std::string text =
      R"({"models": {"m": {"experts": 4, "counts": {"web": [[1, 1, 1, 5], [2, 2, 2, 2]]}}}})";
  const auto same = read(text, 4, 4);
  ASSERT_EQ(same.size(), 4u);
  EXPECT_EQ(same[1], (std::vector<double>{0.125, 0.125, 0.125, 0.625}));
  EXPECT_EQ(same[2], (std::vector<double>{0.25, 0.25, 0.25, 0.25}));
  const auto more = read(text, 2, 8);
  ASSERT_EQ(more[0].size(), 8u);
  EXPECT_NEAR(std::accumulate(more[0].begin(), more[0].end(), 0.0), 1, 1e-12);
  EXPECT_NEAR(*std::max_element(more[0].begin(), more[0].end()), 5.0 / 16, 1e-12);
}

TEST_F(LoadsFile, BadFilesAreRefused) {
  for (const char* counts :
       {"[]", "{}", "[[]]", "[[0, 0, 0, 0]]", "[[1, 2, -1, 3]]", "[[1, \"x\"]]"}) {
    expect_refused(std::string(R"({"models": {"m": {"experts": 4, "counts": {"web": )") + counts +
                   "}}}}");
  }
  expect_refused(R"({"models": {"m": {"experts": 4, "counts": {"books": [[1, 2, 3, 4]]}}}})");
  expect_refused(R"({"models": {}})");
  expect_refused("{");
}

}  // namespace
}  // namespace conclave
