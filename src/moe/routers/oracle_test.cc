// Routers against slow, independent float64 versions of their papers' equations.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "moe/routers/test_cases.h"

namespace conclave::moe {
namespace {

using testing::RouterCase;
using testing::RouterData;
using Row = std::vector<double>;

Row softmax(const Row& z) {
  long double sum = 0;
  for (const double v : z) sum += std::exp(static_cast<long double>(v));
  Row p;
  for (const double v : z) {
    p.push_back(static_cast<double>(std::exp(static_cast<long double>(v)) / sum));
  }
  return p;
}

// Indices of the k largest by repeated search, best first.
std::vector<int> largest(Row keys, int k) {
  std::vector<int> ids;
  for (int i = 0; i < k; ++i) {
    const auto best = std::max_element(keys.begin(), keys.end());
    ids.push_back(static_cast<int>(best - keys.begin()));
    *best = -std::numeric_limits<double>::infinity();
  }
  return ids;
}

// Experts of groups that are not among the best get minus infinity, or 0.
Row only_best_groups(const RouterConfig& config, const Row& keys) {
  const int size = config.n_experts / config.n_groups;
  Row scores;
  for (int g = 0; g < config.n_groups; ++g) {
    Row members(keys.begin() + g * size, keys.begin() + (g + 1) * size);
    std::sort(members.rbegin(), members.rend());
    const bool two = config.group_score == GroupScore::kTop2Sum && size > 1;
    scores.push_back(two ? members[0] + members[1] : members[0]);
  }
  const double fill = config.group_fill_zero ? 0 : -std::numeric_limits<double>::infinity();
  Row result(keys.size(), fill);
  for (const int g : largest(scores, config.topk_groups)) {
    for (int e = g * size; e < (g + 1) * size; ++e) {
      result[static_cast<std::size_t>(e)] = keys[static_cast<std::size_t>(e)];
    }
  }
  return result;
}

struct Expected {
  std::vector<int> ids;
  Row weights;
  Row scores;
};

double at(const Row& row, int i) { return row[static_cast<std::size_t>(i)]; }

// Weights from unnormalised values of the selected experts.
Row weigh(const RouterConfig& config, const Row& values, const std::vector<int>& ids) {
  double sum = 0;
  for (const int e : ids) sum += std::pow(at(values, e), config.norm_power);
  const double norm = std::max(std::pow(sum, 1 / config.norm_power), config.norm_min);
  Row weights;
  for (const int e : ids) {
    weights.push_back(config.scale * at(values, e) / (config.renormalize ? norm : 1.0));
  }
  return weights;
}

// Two rounds of the largest logit left, each weighed against those that the threshold
// does not part from it.
void sparsemixer(const RouterConfig& config, const Row& z, Expected& expected) {
  Row left = z;
  for (int round = 0; round < 2; ++round) {
    const int best = largest(left, 1)[0];
    double sum = 0;
    for (std::size_t e = 0; e < z.size(); ++e) {
      const double factor = std::max(std::abs(z[e]), at(left, best));
      const bool rival = (at(left, best) - z[e]) / factor <= 2 * config.mixer_epsilon;
      if (rival && !std::isinf(left[e])) sum += std::exp(z[e] - at(left, best));
    }
    expected.ids.push_back(best);
    expected.weights.push_back(config.scale / sum);
    left[static_cast<std::size_t>(best)] = -std::numeric_limits<double>::infinity();
  }
}

// Standard normals as documented in noisy_topk.h, straight from the Philox words.
double noise(const Rng& rng, std::uint64_t token, int n, int e) {
  const auto blocks = static_cast<std::uint64_t>((n + 3) / 4);
  const auto words = rng.block(token * blocks + static_cast<std::uint64_t>(e / 4));
  const std::size_t pair = (e % 4) / 2;
  const double radius = std::sqrt(-2 * std::log((words[2 * pair] + 1.0) / 4294967296.0));
  const double angle = 2 * std::numbers::pi * (words[2 * pair + 1] / 4294967296.0);
  return e % 2 == 0 ? radius * std::cos(angle) : radius * std::sin(angle);
}

Expected token_oracle(const RouterCase& test, const RouterData<double>& data,
                      const RoutingDecisionOf<double>& found, int t) {
  const RouterConfig& config = test.config;
  const int n = config.n_experts;
  const Row z(data.logits_TE.begin() + t * n, data.logits_TE.begin() + (t + 1) * n);
  Row bias(z.size(), 0.0);
  if (test.bias) bias = data.bias_E;
  Expected expected;
  if (config.kind == "sigmoid_bias") {
    Row s;
    Row keys;
    double sum = 0;
    for (std::size_t e = 0; e < z.size(); ++e) {
      s.push_back(1 / (1 + std::exp(-z[e])));
      keys.push_back(s[e] + bias[e]);
      sum += s[e];
    }
    expected.ids = largest(only_best_groups(config, keys), config.k);
    expected.weights = weigh(config, s, expected.ids);
    for (const double v : s) expected.scores.push_back(v / sum);
    return expected;
  }
  expected.scores = softmax(z);
  if (config.kind == "sparsemixer") {
    sparsemixer(config, z, expected);
    return expected;
  }
  if (config.kind == "noisy_topk") {
    Row h = z;
    for (int e = 0; test.training && e < n; ++e) {
      const double u = data.noise_logits_TE[static_cast<std::size_t>(t * n + e)];
      const double sigma = std::log(1 + std::exp(u)) + config.noise_floor;
      const double drawn = found.noise_TE[static_cast<std::size_t>(t * n + e)];
      const auto token = data.input.first_token + static_cast<std::uint64_t>(t);
      EXPECT_NEAR(drawn, noise(data.input.rng, token, n, e), 1e-5);
      h[static_cast<std::size_t>(e)] += sigma * drawn;
    }
    expected.ids = largest(h, config.k);
    expected.weights = weigh(config, softmax(h), expected.ids);
    return expected;
  }
  Row keys = expected.scores;  // softmax_topk and switch_top1
  for (std::size_t e = 0; e < keys.size(); ++e) keys[e] += bias[e];
  expected.ids = largest(only_best_groups(config, keys), config.k);
  expected.weights = weigh(config, expected.scores, expected.ids);
  return expected;
}

class RouterOracle : public ::testing::TestWithParam<const char*> {};

TEST_P(RouterOracle, MatchesTheEquations) {
  constexpr int kTokens = 40;
  ops::Context context(1);
  for (const RouterCase& test : testing::router_cases(router_traits(GetParam()))) {
    const RouterData<double> data(test, kTokens, 21);
    const auto found = router_forward(context, test.config, data.input);
    for (int t = 0; t < kTokens; ++t) {
      const Expected expected = token_oracle(test, data, found, t);
      for (int i = 0; i < test.config.k; ++i) {
        const auto slot = static_cast<std::size_t>(t * test.config.k + i);
        ASSERT_EQ(found.topk_ids_TK[slot], expected.ids[static_cast<std::size_t>(i)])
            << test.name() << " token " << t;
        ASSERT_NEAR(found.topk_weights_TK[slot], at(expected.weights, i), 1e-12) << test.name();
      }
      for (int e = 0; e < test.config.n_experts; ++e) {
        const auto index = static_cast<std::size_t>(t * test.config.n_experts + e);
        ASSERT_NEAR(found.scores_TE[index], at(expected.scores, e), 1e-12) << test.name();
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, RouterOracle,
                         ::testing::Values("softmax_topk", "switch_top1", "noisy_topk",
                                           "sigmoid_bias", "sparsemixer"),
                         [](const auto& test) { return std::string(test.param); });

TEST(ExpertChoice, EveryExpertTakesItsBestTokens) {
  constexpr int kTokens = 21;
  ops::Context context(2);
  RouterCase test;
  test.config = default_router_config("expert_choice");
  test.config.n_experts = 6;
  test.config.k = 2;
  test.config.scale = 1.5;
  const RouterData<double> data(test, kTokens, 5);
  const auto found = router_forward(context, test.config, data.input);
  ASSERT_EQ(found.k, 6);
  constexpr int kCapacity = 7;  // 21 * 2 / 6
  std::vector<Row> p;
  for (int t = 0; t < kTokens; ++t) {
    p.push_back(softmax(Row(data.logits_TE.begin() + t * 6, data.logits_TE.begin() + t * 6 + 6)));
  }
  std::vector<Row> weight(kTokens, Row(6, 0.0));
  for (int e = 0; e < 6; ++e) {
    Row column;
    for (const Row& row : p) column.push_back(at(row, e));
    for (const int t : largest(column, kCapacity)) {
      weight[static_cast<std::size_t>(t)][static_cast<std::size_t>(e)] = 1.5 * at(column, t);
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    Row got(6, 0.0);
    double previous = 2;
    for (int i = 0; i < 6; ++i) {
      const auto slot = static_cast<std::size_t>(t * 6 + i);
      if (found.topk_ids_TK[slot] == kNoExpert) continue;
      got[static_cast<std::size_t>(found.topk_ids_TK[slot])] = found.topk_weights_TK[slot];
      EXPECT_LE(found.topk_weights_TK[slot], previous) << "best first";
      previous = found.topk_weights_TK[slot];
    }
    for (int e = 0; e < 6; ++e) {
      EXPECT_NEAR(at(got, e), at(weight[static_cast<std::size_t>(t)], e), 1e-12);
    }
  }
}

TEST(Hash, SpreadsIdsEvenlyAndDependsOnTheSeedAlone) {
  constexpr int kIds = 60000;
  constexpr int kExperts = 8;
  constexpr int kChosen = 3;
  ops::Context context(1);
  RouterConfig config = default_router_config("hash");
  config.n_experts = kExperts;
  config.k = kChosen;
  std::vector<std::int32_t> ids(kIds);
  for (int i = 0; i < kIds; ++i) ids[static_cast<std::size_t>(i)] = i;
  RouterInput input;
  input.n_tokens = kIds;
  input.ids_T = ids;
  const auto found = router_forward(context, config, input);
  std::vector<int> subsets(1 << kExperts, 0);
  for (int t = 0; t < kIds; ++t) {
    unsigned subset = 0;
    for (int i = 0; i < kChosen; ++i) {
      const auto slot = static_cast<std::size_t>(t * kChosen + i);
      subset |= 1u << found.topk_ids_TK[slot];
      EXPECT_FLOAT_EQ(found.topk_weights_TK[slot], 1.0f / kChosen);
    }
    ++subsets[subset];
  }
  int used = 0;  // all 56 subsets, each within six sigma of its share
  for (const int count : subsets) {
    if (count == 0) continue;
    ++used;
    EXPECT_NEAR(count, kIds / 56.0, 6 * std::sqrt(kIds / 56.0));
  }
  EXPECT_EQ(used, 56);

  config.hash_seed = 1;
  const auto other = router_forward(context, config, input);
  EXPECT_NE(other.topk_ids_TK, found.topk_ids_TK);
}

TEST(NoisyTopk, NoiseIsStandardNormalAndIndependentOfTheBatch) {
  constexpr int kTokens = 20000;
  RouterCase test;
  test.config = default_router_config("noisy_topk");
  test.config.n_experts = 6;  // not a multiple of the four normals of a block
  test.config.k = 2;
  test.training = true;
  ops::Context context(1);
  const RouterData<double> data(test, kTokens, 2);
  const auto found = router_forward(context, test.config, data.input);
  for (int e = 0; e < 6; ++e) {
    double sum = 0;
    double square = 0;
    double lag = 0;
    for (int t = 0; t < kTokens; ++t) {
      const double x = found.noise_TE[static_cast<std::size_t>(t * 6 + e)];
      sum += x;
      square += x * x;
      lag += x * found.noise_TE[static_cast<std::size_t>(t * 6 + (e + 1) % 6)];
    }
    EXPECT_NEAR(sum / kTokens, 0, 0.04);
    EXPECT_NEAR(square / kTokens, 1, 0.06);
    EXPECT_NEAR(lag / kTokens, 0, 0.04);
  }
}

TEST(SigmoidBias, TheBiasSelectsButNeverWeighs) {
  RouterCase test;
  test.config = default_router_config("sigmoid_bias");
  test.config.n_experts = 4;
  test.config.k = 2;
  test.bias = true;
  ops::Context context(1);
  RouterData<double> data(test, 1, 1);
  data.logits_TE = {2.0, 1.0, 0.0, -1.0};
  data.bias_E = {0, 0, 0, 5};
  const auto found = router_forward(context, test.config, data.input);
  EXPECT_EQ(found.topk_ids_TK, (std::vector<std::int32_t>{3, 0}));
  const double s0 = 1 / (1 + std::exp(-2.0));
  const double s3 = 1 / (1 + std::exp(1.0));
  EXPECT_NEAR(found.topk_weights_TK[0], s3 / (s0 + s3), 1e-15);
}

// Where the biased scores of the kept groups are negative, the reference code's 0 of the others
// wins.
TEST(SigmoidBias, ZeroOfOtherGroupsWinsOverNegativeScores) {
  RouterCase test;
  test.config = default_router_config("sigmoid_bias");
  test.config.n_experts = 4;
  test.config.k = 2;
  test.config.n_groups = 2;
  test.config.topk_groups = 1;
  test.bias = true;
  ops::Context context(1);
  RouterData<double> data(test, 1, 1);
  data.logits_TE = {0.0, 1.0, 2.0, 3.0};
  data.bias_E = {-2.0, -2.1, -3.0, -3.1};
  EXPECT_EQ(router_forward(context, test.config, data.input).topk_ids_TK,
            (std::vector<std::int32_t>{1, 0}));
  test.config.group_fill_zero = true;
  const auto found = router_forward(context, test.config, data.input);
  EXPECT_EQ(found.topk_ids_TK, (std::vector<std::int32_t>{2, 3}));
  const double s2 = 1 / (1 + std::exp(-2.0));
  const double s3 = 1 / (1 + std::exp(-3.0));
  EXPECT_NEAR(found.topk_weights_TK[0], s2 / (s2 + s3), 1e-15);
  test.config.k = 4;  // more than the kept groups hold
  EXPECT_EQ(router_forward(context, test.config, data.input).topk_ids_TK,
            (std::vector<std::int32_t>{2, 3, 1, 0}));
}

// sigmoid(30) and sigmoid(40) are both 1 in float; the logits still say which is larger.
TEST(SigmoidBias, SaturatedScoresAreSelectedByTheirLogits) {
  ops::Context context(1);
  RouterConfig config = default_router_config("sigmoid_bias");
  config.n_experts = 4;
  config.k = 1;
  config.renormalize = false;
  const std::vector<float> logits = {30, 25, 40, 35};
  RouterInput input;
  input.n_tokens = 1;
  input.logits_TE = logits.data();
  const auto found = router_forward(context, config, input);
  EXPECT_EQ(found.topk_ids_TK[0], 2);
  EXPECT_EQ(found.topk_weights_TK[0], 1.0f);
}

}  // namespace
}  // namespace conclave::moe
