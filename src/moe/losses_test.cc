// Losses against naive float64 versions, their exact values at balance and collapse, and their
// effect: descending a balance loss must balance. (Gradients: routers/gradient_test.cc.)
#include "moe/losses.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <numeric>

#include "moe/routers/test_cases.h"

namespace conclave::moe {
namespace {

using testing::RouterCase;
using testing::RouterData;
using Decision = RoutingDecisionOf<double>;

constexpr double* kNoGradient = nullptr;

RouterCase make_case(const char* kind, int n_experts, int k, bool training = false) {
  RouterCase test;
  test.config = default_router_config(kind);
  test.config.n_experts = n_experts;
  test.config.k = k;
  test.config.capacity_factor = 0;
  test.training = training;
  return test;
}

Decision route(const RouterCase& test, const std::vector<double>& logits_TE) {
  ops::Context context(1);
  RouterInputOf<double> input;
  input.n_tokens = static_cast<int>(logits_TE.size()) / test.config.n_experts;
  input.logits_TE = logits_TE.data();
  return router_forward(context, test.config, input);
}

// Token t prefers experts t, t + 1, ... (mod E), equally strongly: perfect balance of both the
// choices and the mean scores.
std::vector<double> rotating_logits(int n_tokens, int n) {
  std::vector<double> logits;
  for (int t = 0; t < n_tokens; ++t) {
    for (int e = 0; e < n; ++e) logits.push_back(-0.7 * ((e - t % n + n) % n));
  }
  return logits;
}

TEST(LoadBalanceLoss, IsKAtPerfectBalanceAndOneOverKOfThatOnRequest) {
  for (const char* kind : {"softmax_topk", "sigmoid_bias"}) {
    for (const int k : {2, 3, 8}) {
      const RouterCase test = make_case(kind, 8, k);
      const Decision decision = route(test, rotating_logits(32, 8));
      EXPECT_NEAR(load_balance_loss(decision, {}, kNoGradient), k, 1e-12);
      EXPECT_NEAR(load_balance_loss(decision, {.divide_by_k = true}, kNoGradient), 1, 1e-12);
    }
  }
  const Decision top1 = route(make_case("switch_top1", 8, 1), rotating_logits(32, 8));
  EXPECT_NEAR(load_balance_loss(top1, {}, kNoGradient), 1, 1e-12);
}

TEST(LoadBalanceLoss, IsEAtCollapse) {
  // All tokens certain of one expert. A softmax taken twice would give E e / (e + E - 1) = 2.2.
  std::vector<double> logits;
  for (int t = 0; t < 10; ++t) {
    for (int e = 0; e < 8; ++e) logits.push_back(e == 3 ? 40 : 0);
  }
  EXPECT_NEAR(load_balance_loss(route(make_case("switch_top1", 8, 1), logits), {}, kNoGradient), 8,
              1e-9);
  // Top 2 of which one gets all probability: f = 1 for both, P = 1 for one of them.
  EXPECT_NEAR(load_balance_loss(route(make_case("softmax_topk", 8, 2), logits), {}, kNoGradient), 8,
              1e-9);
}

double naive_balance(const Decision& decision, int begin, int end) {
  double value = 0;
  for (int e = 0; e < decision.n_experts; ++e) {
    double f = 0;
    double p = 0;
    for (int t = begin; t < end; ++t) {
      for (int i = 0; i < decision.k; ++i) {
        f += decision.topk_ids_TK[static_cast<std::size_t>(t * decision.k + i)] == e ? 1 : 0;
      }
      p += decision.scores_TE[static_cast<std::size_t>(t * decision.n_experts + e)];
    }
    value += f / (end - begin) * (p / (end - begin));
  }
  return decision.n_experts * value;
}

TEST(LoadBalanceLoss, EqualsTheFormulaAlsoPerSequenceAndWithOtherCounts) {
  const RouterCase test = make_case("softmax_topk", 6, 2);
  const RouterData<double> data(test, 23, 4);
  const Decision decision = route(test, data.logits_TE);
  EXPECT_NEAR(load_balance_loss(decision, {}, kNoGradient), naive_balance(decision, 0, 23), 1e-12);

  const std::int32_t offsets[] = {0, 5, 5, 23};
  const double expected = (naive_balance(decision, 0, 5) + naive_balance(decision, 5, 23)) / 2 / 2;
  EXPECT_NEAR(sequence_balance_loss(decision, offsets, 1, kNoGradient), expected, 1e-12);

  // Counts of two micro-batches, here twice the same one, change nothing.
  std::vector<std::int64_t> counts = count_choices(decision);
  for (std::int64_t& count : counts) count *= 2;
  EXPECT_NEAR(load_balance_loss(decision, {.counts_E = counts, .counted_tokens = 46}, kNoGradient),
              naive_balance(decision, 0, 23), 1e-12);
  // Other counts do, and their gradient is E f_e / T.
  counts = {46, 46, 0, 0, 0, 0};
  std::vector<double> d_scores(decision.scores_TE.size(), 1.0);
  load_balance_loss(decision, {.coefficient = 0.5, .counts_E = counts, .counted_tokens = 46},
                    d_scores.data());
  EXPECT_NEAR(d_scores[0], 1 + 0.5 * 6.0 / 23, 1e-15);
  EXPECT_EQ(d_scores[2], 1);
}

// A few steps down the gradient of the balance loss alone, on the logits.
TEST(LoadBalanceLoss, DescendingItBalancesACollapsedRouter) {
  for (const char* kind : {"softmax_topk", "switch_top1", "sigmoid_bias", "noisy_topk"}) {
    const RouterCase test = make_case(kind, 8, kind == std::string("switch_top1") ? 1 : 2);
    const int n_tokens = 64;
    RouterData<double> data(test, n_tokens, 8);
    for (int t = 0; t < n_tokens; ++t) data.logits_TE[static_cast<std::size_t>(t * 8)] += 4;
    ops::Context context(1);
    double first = 0;
    double last = 0;
    std::int64_t first_max = 0;
    std::int64_t last_max = 0;
    for (int step = 0; step < 60; ++step) {
      const Decision decision = router_forward(context, test.config, data.input);
      const std::vector<std::int64_t> counts = count_choices(decision);
      std::vector<double> d_weights(decision.topk_weights_TK.size(), 0.0);
      std::vector<double> d_scores(decision.scores_TE.size(), 0.0);
      std::vector<double> d_logits(data.logits_TE.size());
      last = load_balance_loss(decision, {}, d_scores.data());
      last_max = *std::max_element(counts.begin(), counts.end());
      if (step == 0) first = last;
      if (step == 0) first_max = last_max;
      router_backward(
          context, test.config, data.input, decision,
          RouterGradientsOf<double>{d_weights.data(), d_scores.data(), d_logits.data(), nullptr});
      for (std::size_t i = 0; i < d_logits.size(); ++i) data.logits_TE[i] -= 60 * d_logits[i];
    }
    const double balanced = test.config.k;
    EXPECT_GT(first, 1.25 * balanced) << kind;
    EXPECT_LT(last, 1.1 * balanced) << kind;
    EXPECT_GE(first_max, 50) << kind;  // of 64 tokens
    EXPECT_LE(last_max, 40) << kind;
  }
}

TEST(Losses, AreZeroWhereTheyDoNotApply) {
  const RouterCase choice = make_case("expert_choice", 6, 2);
  const RouterData<double> data(choice, 12, 4);
  const Decision decision = route(choice, data.logits_TE);
  std::vector<double> gradient(decision.scores_TE.size(), 0.0);
  const std::int32_t offsets[] = {0, 12};
  EXPECT_EQ(load_balance_loss(decision, {}, gradient.data()), 0);
  EXPECT_EQ(sequence_balance_loss(decision, offsets, 1, gradient.data()), 0);
  EXPECT_EQ(importance_loss(decision, 1, gradient.data()), 0);
  for (const double g : gradient) EXPECT_EQ(g, 0);

  ops::Context context(1);
  const RouterCase hash = make_case("hash", 6, 2);
  const RouterData<double> hashed(hash, 12, 4);
  const Decision fixed = router_forward(context, hash.config, hashed.input);
  EXPECT_EQ(load_balance_loss(fixed, {}, kNoGradient), 0);
  EXPECT_EQ(importance_loss(fixed, 1, kNoGradient), 0);
  EXPECT_EQ(z_loss(context, fixed, 1, kNoGradient), 0);

  const Decision empty = route(make_case("softmax_topk", 6, 2), {});
  const std::int32_t nothing[] = {0, 0};
  EXPECT_EQ(load_balance_loss(empty, {}, kNoGradient), 0);
  EXPECT_EQ(sequence_balance_loss(empty, nothing, 1, kNoGradient), 0);
  EXPECT_EQ(z_loss(context, empty, 1, kNoGradient), 0);
  EXPECT_EQ(importance_loss(empty, 1, kNoGradient), 0);
}

TEST(ZLoss, IsTheMeanSquareOfLogsumexp) {
  ops::Context context(2);
  const RouterCase test = make_case("sigmoid_bias", 5, 2);
  const RouterData<double> data(test, 150, 9);
  const Decision decision = route(test, data.logits_TE);
  double expected = 0;
  for (int t = 0; t < 150; ++t) {
    double sum = 0;
    for (int e = 0; e < 5; ++e) {
      sum += std::exp(data.logits_TE[static_cast<std::size_t>(t * 5 + e)]);
    }
    expected += std::log(sum) * std::log(sum) / 150;
  }
  EXPECT_NEAR(z_loss(context, decision, 3, kNoGradient), expected, 1e-12);
  const Decision zero = route(test, std::vector<double>(5, 0.0));
  EXPECT_NEAR(z_loss(context, zero, 1, kNoGradient), std::log(5) * std::log(5), 1e-14);
}

double squared_variation(const std::vector<double>& v) {
  const double n = static_cast<double>(v.size());
  const double mean = std::accumulate(v.begin(), v.end(), 0.0) / n;
  double variance = 0;
  for (const double x : v) variance += (x - mean) * (x - mean) / n;
  return variance / (mean * mean);
}

TEST(ImportanceLoss, IsTheSquaredVariationOfSummedWeights) {
  const RouterCase test = make_case("softmax_topk", 6, 2);
  const RouterData<double> data(test, 20, 4);
  const Decision decision = route(test, data.logits_TE);
  std::vector<double> importance(6, 0.0);
  for (std::size_t slot = 0; slot < decision.topk_ids_TK.size(); ++slot) {
    importance[static_cast<std::size_t>(decision.topk_ids_TK[slot])] +=
        decision.topk_weights_TK[slot];
  }
  EXPECT_NEAR(importance_loss(decision, 1, kNoGradient), squared_variation(importance), 1e-12);
  const Decision balanced = route(test, rotating_logits(12, 6));
  EXPECT_NEAR(importance_loss(balanced, 1, kNoGradient), 0, 1e-14);
}

// Shazeer et al. 2017, eq. 8: the probability that expert e is among the best k if only its
// own noise is drawn anew. Checked by drawing it anew, very often.
TEST(NoisyLoadLoss, CountsTheProbabilityOfBeingChosen) {
  constexpr int kTokens = 3;
  constexpr int kExperts = 5;
  const RouterCase test = make_case("noisy_topk", kExperts, 2, true);
  ops::Context context(1);
  const RouterData<double> data(test, kTokens, 4);
  const Decision decision = router_forward(context, test.config, data.input);
  std::vector<double> load(kExperts, 0.0);
  for (int t = 0; t < kTokens; ++t) {
    std::vector<double> h(kExperts);
    std::vector<double> sigma(kExperts);
    for (std::size_t e = 0; e < kExperts; ++e) {
      const std::size_t i = static_cast<std::size_t>(t * kExperts) + e;
      sigma[e] = std::log1p(std::exp(data.noise_logits_TE[i])) + test.config.noise_floor;
      h[e] = data.logits_TE[i] + decision.noise_TE[i] * sigma[e];
    }
    for (std::size_t e = 0; e < kExperts; ++e) {
      constexpr int kDraws = 100000;
      int chosen = 0;
      for (int draw = 0; draw < kDraws; ++draw) {
        const double noise = Rng(3, e).normal(static_cast<std::uint64_t>(draw));
        const double mine =
            data.logits_TE[static_cast<std::size_t>(t * kExperts) + e] + noise * sigma[e];
        int better = 0;
        for (std::size_t other = 0; other < kExperts; ++other) {
          better += other != e && h[other] > mine ? 1 : 0;
        }
        chosen += better < 2 ? 1 : 0;
      }
      load[e] += static_cast<double>(chosen) / kDraws;
    }
  }
  EXPECT_NEAR(
      noisy_load_loss(context, test.config, data.input, decision, 1, kNoGradient, kNoGradient),
      squared_variation(load), 0.01);
}

TEST(NoisyLoadLoss, IsZeroWithoutNoiseAndWhereAllExpertsAreChosen) {
  ops::Context context(1);
  for (const RouterCase& test :
       {make_case("noisy_topk", 5, 2, false), make_case("noisy_topk", 5, 5, true)}) {
    const RouterData<double> data(test, 4, 4);
    const Decision decision = router_forward(context, test.config, data.input);
    EXPECT_EQ(
        noisy_load_loss(context, test.config, data.input, decision, 1, kNoGradient, kNoGradient),
        0);
  }
}

TEST(LossFreeBias, MovesAgainstTheLoad) {
  std::vector<float> bias = {0.5f, 0.0f, 0.0f, -0.5f};
  const std::vector<std::int64_t> counts = {10, 0, 5, 5};
  loss_free_bias_update(bias, counts, 0.25, false);
  EXPECT_EQ(bias, (std::vector<float>{0.25f, 0.25f, 0.0f, -0.5f}));

  std::vector<float> centred = {0, 0, 0, 0};
  const std::vector<std::int64_t> skewed = {20, 0, 0, 0};
  loss_free_bias_update(centred, skewed, 0.5, true);
  EXPECT_EQ(centred, (std::vector<float>{-0.75f, 0.25f, 0.25f, 0.25f}));
  loss_free_bias_update({}, {}, 0.5, true);
}

TEST(LossFreeBias, BalancesARouterThatPrefersOneExpert) {
  const RouterCase test = [] {
    RouterCase result = make_case("sigmoid_bias", 8, 2);
    result.bias = true;
    return result;
  }();
  ops::Context context(1);
  RouterData<float> data(test, 512, 3);
  std::fill(data.bias_E.begin(), data.bias_E.end(), 0.0f);
  for (std::size_t t = 0; t < 512; ++t) data.logits_TE[t * 8 + 5] += 3;
  std::vector<std::int64_t> counts;
  for (int step = 0; step < 400; ++step) {
    counts = count_choices(router_forward(context, test.config, data.input));
    if (step == 0) {
      EXPECT_GT(counts[5], 450);
    }
    loss_free_bias_update(data.bias_E, counts, 0.005, false);
  }
  for (const std::int64_t count : counts) EXPECT_NEAR(static_cast<double>(count), 128, 20);
}

}  // namespace
}  // namespace conclave::moe
