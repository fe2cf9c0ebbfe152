// What every router in the registry must keep: valid, unique ids; weights as promised; the same
// bits over threads and batch splits; no illegal id from any logits whatever.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <set>

#include "moe/capacity.h"
#include "moe/losses.h"
#include "moe/plan.h"
#include "moe/routers/test_cases.h"

namespace conclave::moe {
namespace {

using testing::router_cases;
using testing::RouterCase;
using testing::RouterData;

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// Ids in range and unique within each token, unused slots last and with weight 0.
template <class Real>
void expect_valid_ids(const RoutingDecisionOf<Real>& decision, const std::string& name) {
  for (int t = 0; t < decision.n_tokens; ++t) {
    std::set<std::int32_t> seen;
    bool ended = false;
    for (int i = 0; i < decision.k; ++i) {
      const auto slot = static_cast<std::size_t>(t) * static_cast<std::size_t>(decision.k) +
                        static_cast<std::size_t>(i);
      const std::int32_t id = decision.topk_ids_TK[slot];
      if (id == kNoExpert) {
        ended = true;
        ASSERT_EQ(decision.topk_weights_TK[slot], 0) << name;
        continue;
      }
      ASSERT_FALSE(ended) << name << ": an unused slot before a used one";
      ASSERT_GE(id, 0) << name;
      ASSERT_LT(id, decision.n_experts) << name;
      ASSERT_TRUE(seen.insert(id).second) << name << ": expert " << id << " twice";
    }
  }
}

class RouterInvariants : public ::testing::TestWithParam<std::string> {
 protected:
  const RouterTraits& traits() const { return router_traits(GetParam()); }
  ops::Context context_{1};
};
class CausalRouterInvariants : public RouterInvariants {};
class LogitRouterInvariants : public RouterInvariants {};

TEST_P(RouterInvariants, IdsWeightsAndCounts) {
  for (const RouterCase& test : router_cases(traits())) {
    for (const int n_tokens : {0, 1, 5, 130}) {
      const RouterData<float> data(test, n_tokens, 3);
      const auto decision = router_forward(context_, test.config, data.input);
      ASSERT_EQ(decision.n_tokens, n_tokens);
      ASSERT_EQ(decision.k, router_slots(test.config));
      ASSERT_EQ(decision.topk_ids_TK.size(), static_cast<std::size_t>(n_tokens * decision.k));
      ASSERT_TRUE(decision.finite());
      expect_valid_ids(decision, test.name());
      if (HasFatalFailure()) return;
      for (const float w : decision.topk_weights_TK) ASSERT_TRUE(w >= 0 && std::isfinite(w));

      const std::vector<std::int64_t> counts = count_choices(decision);
      const std::int64_t total = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
      if (traits().causal) {
        ASSERT_EQ(total, std::int64_t{n_tokens} * test.config.k) << test.name();
      } else {
        const std::int64_t each =
            expert_capacity(n_tokens, test.config.k, test.config.n_experts, 1.0);
        for (const std::int64_t count : counts) ASSERT_EQ(count, each) << test.name();
      }
      for (int t = 0; test.config.renormalize && t < n_tokens; ++t) {
        const auto* w = decision.topk_weights_TK.data() + t * decision.k;
        double sum = 0;
        for (int i = 0; i < decision.k; ++i) {
          sum += std::pow(static_cast<double>(w[i]), test.config.norm_power);
        }
        const double norm = std::pow(sum, 1 / test.config.norm_power);
        ASSERT_LE(norm, test.config.scale * (1 + 1e-5)) << test.name();
        if (test.config.norm_min > 0) continue;  // or less
        ASSERT_NEAR(norm, test.config.scale, 1e-5 * test.config.scale) << test.name();
      }
      for (int t = 0; !decision.scores_TE.empty() && t < n_tokens; ++t) {
        const auto* p = decision.scores_TE.data() + t * decision.n_experts;
        ASSERT_NEAR(std::accumulate(p, p + decision.n_experts, 0.0), 1.0, 1e-5) << test.name();
      }
    }
  }
}

TEST_P(RouterInvariants, SameBitsOnAnyNumberOfThreads) {
  for (const RouterCase& test : router_cases(traits())) {
    const int n_tokens = 333;
    const RouterData<float> data(test, n_tokens, 4);
    const auto expected = router_forward(context_, test.config, data.input);
    std::vector<float> d_weights(expected.topk_weights_TK.size());
    for (std::size_t i = 0; i < d_weights.size(); ++i) {
      d_weights[i] = static_cast<float>(Rng(9).normal(i));
    }
    std::vector<float> d_logits(data.logits_TE.size());
    std::vector<float> d_noise(data.logits_TE.size());
    const bool noisy = data.input.noise_logits_TE != nullptr;
    const auto gradients = [&](std::vector<float>& logits, std::vector<float>& noise) {
      return RouterGradients{d_weights.data(), nullptr, logits.data(),
                             noisy ? noise.data() : nullptr};
    };
    router_backward(context_, test.config, data.input, expected, gradients(d_logits, d_noise));
    for (const int threads : {2, 3}) {
      ops::Context many(threads);
      const auto found = router_forward(many, test.config, data.input);
      ASSERT_EQ(found.topk_ids_TK, expected.topk_ids_TK) << test.name();
      ASSERT_TRUE(same_bits(found.topk_weights_TK, expected.topk_weights_TK)) << test.name();
      ASSERT_TRUE(same_bits(found.scores_TE, expected.scores_TE)) << test.name();
      std::vector<float> d_logits_2(d_logits.size());
      std::vector<float> d_noise_2(d_noise.size());
      router_backward(many, test.config, data.input, found, gradients(d_logits_2, d_noise_2));
      ASSERT_TRUE(same_bits(d_logits_2, d_logits)) << test.name();
      ASSERT_TRUE(same_bits(d_noise_2, d_noise)) << test.name();
    }
  }
}

TEST_P(CausalRouterInvariants, SameBitsOverBatchSplits) {
  for (const RouterCase& test : router_cases(traits())) {
    const int n_tokens = 37;
    const RouterData<float> data(test, n_tokens, 6);
    const auto whole = router_forward(context_, test.config, data.input);
    for (const int size : {1, 5}) {
      for (int begin = 0; begin < n_tokens; begin += size) {
        const int count = std::min(size, n_tokens - begin);
        const auto part = router_forward(context_, test.config, data.slice(test, begin, count));
        const auto first = static_cast<std::ptrdiff_t>(begin) * whole.k;
        const auto last = first + static_cast<std::ptrdiff_t>(count) * whole.k;
        const std::vector<std::int32_t> ids(whole.topk_ids_TK.begin() + first,
                                            whole.topk_ids_TK.begin() + last);
        const std::vector<float> weights(whole.topk_weights_TK.begin() + first,
                                         whole.topk_weights_TK.begin() + last);
        ASSERT_EQ(part.topk_ids_TK, ids) << test.name();
        ASSERT_TRUE(same_bits(part.topk_weights_TK, weights)) << test.name();
      }
    }
  }
}

TEST_P(LogitRouterInvariants, NonFiniteLogitsNeverGiveAnIllegalId) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr int kTokens = 9;
  for (const RouterCase& test : router_cases(traits())) {
    const int n = test.config.n_experts;
    const RouterData<float> clean(test, kTokens, 7);
    const auto expected = router_forward(context_, test.config, clean.input);
    for (const float poison : {kNan, -kNan, kInf, -kInf}) {
      for (const int token : {0, 4, kTokens - 1}) {
        for (const int expert : {0, n / 2, n - 1, -1}) {  // -1: the whole row
          RouterData<float> data(test, kTokens, 7);
          auto* row = data.logits_TE.data() + token * n;
          if (expert < 0) {
            std::fill_n(row, n, poison);
          } else {
            row[expert] = poison;
          }
          const auto found = router_forward(context_, test.config, data.input);
          expect_valid_ids(found, test.name());
          if (HasFatalFailure()) return;
          ASSERT_EQ(found.nonfinite_token, token) << test.name();
          const DispatchPlan plan = make_plan(found);  // checks every id
          ASSERT_EQ(plan.n_dropped, 0);
          for (int t = 0; t < kTokens; ++t) {
            for (int i = 0; i < found.k; ++i) {
              const auto slot = static_cast<std::size_t>(t * found.k + i);
              if (t == token) {
                ASSERT_TRUE(found.topk_ids_TK[slot] == kNoExpert ||
                            std::isnan(found.topk_weights_TK[slot]));
              } else if (traits().causal) {
                ASSERT_EQ(found.topk_ids_TK[slot], expected.topk_ids_TK[slot]);
                ASSERT_EQ(found.topk_weights_TK[slot], expected.topk_weights_TK[slot]);
              }
            }
          }
        }
      }
    }
  }
}

TEST_P(RouterInvariants, NonFiniteBiasAndNoiseLogitsAreSeen) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (const RouterCase& test : router_cases(traits())) {
    if (test.bias) {
      RouterData<float> data(test, 3, 7);
      data.bias_E[0] = kNan;
      const auto found = router_forward(context_, test.config, data.input);
      expect_valid_ids(found, test.name());
      EXPECT_EQ(found.nonfinite_token, 0) << test.name();
    }
    if (traits().needs_noise_logits && test.training) {
      RouterData<float> data(test, 3, 7);
      data.noise_logits_TE.back() = kNan;
      const auto found = router_forward(context_, test.config, data.input);
      expect_valid_ids(found, test.name());
      EXPECT_EQ(found.nonfinite_token, 2) << test.name();
    }
  }
}

TEST_P(LogitRouterInvariants, HugeFiniteLogitsGiveFiniteWeights) {
  constexpr float kMax = std::numeric_limits<float>::max();
  for (const RouterCase& test : router_cases(traits())) {
    for (const float huge : {kMax / 4, -kMax / 4, 1e4f, -1e4f}) {
      RouterData<float> data(test, 4, 8);
      const auto n = static_cast<std::size_t>(test.config.n_experts);
      data.logits_TE[n - 1] = huge;  // one expert of token 0
      std::fill_n(data.logits_TE.begin() + static_cast<std::ptrdiff_t>(n), n, huge);  // all of 1
      const auto found = router_forward(context_, test.config, data.input);
      ASSERT_TRUE(found.finite()) << test.name();
      expect_valid_ids(found, test.name());
      for (const float w : found.topk_weights_TK) ASSERT_TRUE(std::isfinite(w)) << test.name();
      for (const float p : found.scores_TE) ASSERT_TRUE(std::isfinite(p)) << test.name();
    }
  }
}

TEST_P(LogitRouterInvariants, TiesGoToTheLowestIndex) {
  if (!traits().causal) return;  // its ties are between tokens
  for (RouterCase test : router_cases(traits())) {
    test.bias = test.training = false;
    RouterData<float> data(test, 2, 8);
    std::fill(data.logits_TE.begin(), data.logits_TE.end(), 0.25f);
    const auto found = router_forward(context_, test.config, data.input);
    for (std::size_t slot = 0; slot < found.topk_ids_TK.size(); ++slot) {
      ASSERT_EQ(found.topk_ids_TK[slot], static_cast<int>(slot) % found.k) << test.name();
    }
  }
}

TEST_P(RouterInvariants, ReusedDecisionEqualsAFreshOne) {
  const std::vector<RouterCase> cases = router_cases(traits());
  RoutingDecision reused;
  for (const RouterCase& test : cases) {
    for (const int n_tokens : {70, 3, 0}) {
      const RouterData<float> data(test, n_tokens, 12);
      router_forward(context_, test.config, data.input, reused);
      const auto fresh = router_forward(context_, test.config, data.input);
      ASSERT_EQ(reused.topk_ids_TK, fresh.topk_ids_TK);
      ASSERT_TRUE(same_bits(reused.topk_weights_TK, fresh.topk_weights_TK));
      ASSERT_TRUE(same_bits(reused.logits_TE, fresh.logits_TE));
      ASSERT_TRUE(same_bits(reused.noise_TE, fresh.noise_TE));
      ASSERT_TRUE(reused.dropped_TK.empty());
    }
  }
}

TEST_P(RouterInvariants, DescriptionNamesRouterAndSource) {
  for (const RouterCase& test : router_cases(traits())) {
    const std::string text = describe_router(test.config);
    EXPECT_TRUE(text.starts_with(std::string(traits().name) + ": ")) << text;
    EXPECT_NE(text.find(traits().citation), std::string::npos) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(Registry, RouterInvariants, ::testing::ValuesIn(testing::router_names()),
                         testing::param_name);
INSTANTIATE_TEST_SUITE_P(Registry, CausalRouterInvariants,
                         ::testing::ValuesIn(testing::router_names(&RouterTraits::causal)),
                         testing::param_name);
INSTANTIATE_TEST_SUITE_P(Registry, LogitRouterInvariants,
                         ::testing::ValuesIn(testing::router_names(&RouterTraits::needs_logits)),
                         testing::param_name);

}  // namespace
}  // namespace conclave::moe
