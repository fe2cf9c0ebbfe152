// Sampling against a plain reference that works on whole vectors of probabilities.
#include "infer/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "base/rng.h"

namespace conclave::infer {
namespace {

const std::vector<float> kLogits = {1.5f, -0.5f, 3.0f, 0.25f, 2.0f, -2.0f, 2.75f, 0.0f};

SamplingOptions plain() {
  SamplingOptions o;
  o.temperature = 1;
  o.top_k = 0;
  o.top_p = 1;
  return o;
}

std::vector<double> softmax(const std::vector<double>& logits) {
  const double best = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p;
  double sum = 0;
  for (const double x : logits) sum += p.emplace_back(std::exp(x - best));
  for (double& x : p) x /= sum;
  return p;
}

std::vector<double> doubles(const std::vector<float>& logits) {
  return {logits.begin(), logits.end()};
}

// How often each token is drawn in n draws, as shares.
std::vector<double> shares(const SamplingOptions& o,
                           const std::vector<std::int32_t>& context = {}) {
  constexpr int kDraws = 40000;
  std::vector<double> count(kLogits.size());
  for (int i = 0; i < kDraws; ++i) {
    count[static_cast<std::size_t>(sample(kLogits, o, context, static_cast<std::uint64_t>(i)))] +=
        1.0 / kDraws;
  }
  return count;
}

// Four standard deviations of a share of 40000 draws are at most 0.01.
void expect_shares(const std::vector<double>& found, const std::vector<double>& expected) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(found[i], expected[i], 0.01) << "token " << i;
    if (expected[i] == 0) {
      EXPECT_EQ(found[i], 0) << "token " << i;
    }
  }
}

// Keeps the named tokens of a distribution.
std::vector<double> only(std::vector<double> p, const std::vector<std::size_t>& kept) {
  std::vector<double> result(p.size());
  double sum = 0;
  for (const std::size_t i : kept) sum += p[i];
  for (const std::size_t i : kept) result[i] = p[i] / sum;
  return result;
}

TEST(Sampler, DrawsFollowTheSoftmaxAtEachTemperature) {
  for (const double temperature : {0.5, 1.0, 2.0}) {
    SamplingOptions o = plain();
    o.temperature = temperature;
    std::vector<double> scaled = doubles(kLogits);
    for (double& x : scaled) x /= temperature;
    expect_shares(shares(o), softmax(scaled));
  }
}

TEST(Sampler, FiltersKeepWhatTheirDefinitionsSay) {
  const std::vector<double> p = softmax(doubles(kLogits));
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p[a] > p[b]; });

  SamplingOptions o = plain();
  o.top_k = 3;
  expect_shares(shares(o), only(p, {order[0], order[1], order[2]}));

  o = plain();
  o.top_p = p[order[0]] + 0.5 * p[order[1]];  // the second is needed to reach it
  expect_shares(shares(o), only(p, {order[0], order[1]}));

  o = plain();
  o.min_p = 0.3;
  std::vector<std::size_t> kept;
  for (const std::size_t i : order) {
    if (p[i] >= 0.3 * p[order[0]]) kept.push_back(i);
  }
  ASSERT_GT(kept.size(), 1u);
  ASSERT_LT(kept.size(), p.size());
  expect_shares(shares(o), only(p, kept));
}

// Sorting only as far as is needed chooses what sorting everything chooses.
TEST(Sampler, ManyTokensAreChosenAsIfAllWereSorted) {
  constexpr std::size_t kVocab = 5000;
  const Rng rng(7);
  for (const double spread : {0.1, 3.0, 40.0}) {
    std::vector<float> logits(kVocab);
    for (std::size_t i = 0; i < kVocab; ++i) {
      logits[i] = static_cast<float>(spread * rng.normal(i));
    }
    std::vector<std::int32_t> order(kVocab);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
      return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
    });
    for (const auto& [top_k, top_p] : {std::pair{0, 1.0}, {0, 0.9}, {700, 1.0}, {40, 0.5}}) {
      SamplingOptions o;
      o.temperature = 0.8, o.top_k = top_k, o.top_p = top_p, o.seed = 3;
      std::vector<double> p;
      double sum = 0, kept = 0, mass = 0;
      for (std::size_t i = 0; i < (top_k > 0 ? static_cast<std::size_t>(top_k) : kVocab); ++i) {
        const auto at = [&](std::size_t n) {
          return double{logits[static_cast<std::size_t>(order[n])]};
        };
        p.push_back(std::exp((at(i) - at(0)) / o.temperature));
        sum += p.back();
      }
      std::size_t n = 0;
      while (n < p.size() && (n == 0 || mass < top_p)) mass += p[n] / sum, kept += p[n++];
      for (std::uint64_t position = 0; position < 50; ++position) {
        double target = Rng(o.seed).uniform(position) * kept;
        std::size_t i = 0;
        while (i + 1 < n && (target -= p[i]) >= 0) ++i;
        ASSERT_EQ(sample(logits, o, {}, position, nullptr), order[i]) << spread << ' ' << top_k;
      }
    }
  }
}

TEST(Sampler, TypicalKeepsTheTokensNearestToTheEntropy) {
  const std::vector<double> p = softmax(doubles(kLogits));
  double entropy = 0;
  for (const double x : p) entropy -= x * std::log(x);
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::abs(-std::log(p[a]) - entropy) < std::abs(-std::log(p[b]) - entropy);
  });
  for (const double mass : {0.0, 0.2, 0.5, 0.9}) {
    std::vector<std::size_t> kept;
    for (double reached = 0; kept.empty() || reached < mass;) {
      kept.push_back(order[kept.size()]);
      reached += p[kept.back()];
    }
    SamplingOptions o = plain();
    o.typical_p = mass;
    expect_shares(shares(o), only(p, kept));
  }
  EXPECT_NE(order[0], 2u);  // the most probable token is not the most typical one here
}

TEST(Sampler, PenaltiesAndBias) {
  SamplingOptions o = plain();
  o.repeat_penalty = 1.7;
  o.presence_penalty = 0.3;
  o.frequency_penalty = 0.2;
  o.penalty_window = 4;
  o.logit_bias = {{7, 2.5}, {2, -1.0}, {6, -std::numeric_limits<double>::infinity()}};
  const std::vector<std::int32_t> context = {0, 0, 0, 2, 1, 2, 5};  // the last four count
  std::vector<double> logits = doubles(kLogits);
  logits[7] += 2.5;
  logits[2] -= 1.0;
  const std::vector<int> seen = {0, 1, 2, 0, 0, 1, 0, 0};
  for (std::size_t i = 0; i < seen.size(); ++i) {
    if (seen[i] == 0) continue;
    logits[i] = logits[i] > 0 ? logits[i] / 1.7 : logits[i] * 1.7;
    logits[i] -= 0.3 + 0.2 * seen[i];
  }
  logits[6] = -std::numeric_limits<double>::infinity();
  expect_shares(shares(o, context), softmax(logits));
}

TEST(Sampler, ADrawIsAFunctionOfSeedAndPosition) {
  SamplingOptions one = plain(), other = plain();
  one.seed = 5;
  other.seed = 6;
  int differ = 0;
  for (std::uint64_t i = 0; i < 100; ++i) {
    EXPECT_EQ(sample(kLogits, one, {}, i), sample(kLogits, one, {}, i));
    differ += sample(kLogits, one, {}, i) != sample(kLogits, other, {}, i) ? 1 : 0;
  }
  EXPECT_GT(differ, 30);
}

TEST(Sampler, GreedyTakesTheBestAndTheFirstOfEqualOnes) {
  SamplingOptions o = plain();
  o.temperature = 0;
  EXPECT_EQ(sample(kLogits, o, {}, 0), 2);
  EXPECT_EQ(sample(std::vector<float>{1, 3, 3, 2}, o, {}, 0), 1);
  o.logit_bias = {{5, 100.0}};
  EXPECT_EQ(sample(kLogits, o, {}, 0), 5);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(sample(std::vector<float>{nan, -1, nan}, plain(), {}, 0), 1);
  EXPECT_THROW(sample(std::vector<float>{nan, nan}, plain(), {}, 0), Error);
}

TEST(Sampler, LogProbabilitiesAreTheSoftmaxAndSumToOne) {
  const std::vector<double> p = softmax(doubles(kLogits));
  const Logprobs all = log_probabilities(kLogits, 3, static_cast<int>(kLogits.size()));
  EXPECT_EQ(all.chosen.id, 3);
  EXPECT_NEAR(all.chosen.logprob, std::log(p[3]), 1e-12);
  ASSERT_EQ(all.top.size(), kLogits.size());
  double sum = 0;
  for (const TokenLogprob& t : all.top) {
    EXPECT_NEAR(t.logprob, std::log(p[static_cast<std::size_t>(t.id)]), 1e-12);
    sum += std::exp(t.logprob);
  }
  EXPECT_NEAR(sum, 1, 1e-12);
  EXPECT_TRUE(std::is_sorted(all.top.begin(), all.top.end(),
                             [](const auto& a, const auto& b) { return a.logprob > b.logprob; }));
  EXPECT_TRUE(log_probabilities(kLogits, 3, 0).top.empty());
  ASSERT_EQ(log_probabilities(kLogits, 3, 2).top.size(), 2u);
  EXPECT_NEAR(log_probabilities(kLogits, 3, 2).chosen.logprob, std::log(p[3]), 1e-12);
}

TEST(Sampler, OptionsOutOfRangeAreRefusedByName) {
  const auto refused = [](const char* name, const auto& change) {
    SamplingOptions o;
    change(o);
    try {
      validate(o);
      ADD_FAILURE() << name << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
      EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
    }
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  refused("temperature", [](SamplingOptions& o) { o.temperature = -0.1; });
  refused("temperature", [&](SamplingOptions& o) { o.temperature = nan; });
  refused("top-k", [](SamplingOptions& o) { o.top_k = -1; });
  refused("top-p", [](SamplingOptions& o) { o.top_p = 1.5; });
  refused("typical-p", [&](SamplingOptions& o) { o.typical_p = nan; });
  refused("repeat-penalty", [](SamplingOptions& o) { o.repeat_penalty = 0; });
}

}  // namespace
}  // namespace conclave::infer
