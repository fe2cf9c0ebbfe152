#include "moe/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "moe/losses.h"
#include "moe/routers/test_cases.h"

namespace conclave::moe {
namespace {

using testing::RouterCase;
using testing::RouterData;

RouterCase make_case(const char* kind, int n_experts, int k) {
  RouterCase test;
  test.config = default_router_config(kind);
  test.config.n_experts = n_experts;
  test.config.k = k;
  return test;
}

TEST(RoutingStatistics, CountsEqualANaiveCount) {
  ops::Context context(1);
  for (const char* kind : {"softmax_topk", "expert_choice", "hash"}) {
    const RouterCase test = make_case(kind, 11, 3);
    const RouterData<float> data(test, 200, 3);
    const auto decision = router_forward(context, test.config, data.input);
    RoutingStatistics statistics;
    statistics.add(decision);
    EXPECT_EQ(statistics.tokens(), 200);
    const std::vector<std::int64_t> counts = count_choices(decision);
    const auto counted = statistics.tokens_per_expert();
    EXPECT_EQ(std::vector<std::int64_t>(counted.begin(), counted.end()), counts);
    for (int a = 0; a < 11; ++a) {
      for (int b = 0; b < 11; ++b) {
        std::int64_t both = 0;
        for (int t = 0; t < 200; ++t) {
          const auto* ids = decision.topk_ids_TK.data() + t * decision.k;
          both += std::count(ids, ids + decision.k, a) * std::count(ids, ids + decision.k, b);
        }
        ASSERT_EQ(statistics.coactivation(a, b), both) << kind << " " << a << " " << b;
      }
    }
    double entropy = 0;
    for (const float p : decision.scores_TE) {
      entropy -= p > 0 ? static_cast<double>(p) * std::log(static_cast<double>(p)) / 200 : 0;
    }
    EXPECT_NEAR(statistics.balance().router_entropy, entropy, 3e-5) << kind;
  }
}

TEST(RoutingStatistics, BalanceFiguresOfKnownLoads) {
  RoutingDecision decision;
  decision.n_tokens = 8;
  decision.n_experts = 4;
  decision.k = 1;
  decision.topk_ids_TK = {0, 0, 0, 0, 1, 1, 2, 2};
  decision.topk_weights_TK.assign(8, 1.0f);
  decision.dropped_TK = {0, 0, 0, 1, 0, 0, 0, 0};
  RoutingStatistics statistics;
  statistics.add(decision);
  const BalanceFigures figures = statistics.balance();
  EXPECT_DOUBLE_EQ(figures.max_over_mean, 2);
  EXPECT_DOUBLE_EQ(figures.min_over_mean, 0);
  EXPECT_DOUBLE_EQ(figures.max_violation, 1);
  EXPECT_EQ(figures.dead_experts, 1);
  EXPECT_NEAR(figures.load_entropy, 1.5 * std::log(2), 1e-15);
  EXPECT_EQ(figures.router_entropy, 0);
  EXPECT_EQ(statistics.dropped(), 1);
  EXPECT_EQ(statistics.choices(), 8);
}

TEST(RoutingStatistics, EntropyOfExtremeRows) {
  RoutingDecision decision;
  decision.n_tokens = 1;
  decision.n_experts = 9;
  decision.k = 1;
  decision.topk_ids_TK = {0};
  decision.topk_weights_TK = {1};
  const auto entropy_of = [&](std::vector<float> scores) {
    decision.scores_TE = std::move(scores);
    RoutingStatistics statistics;
    statistics.add(decision);
    return statistics.balance().router_entropy;
  };
  EXPECT_NEAR(entropy_of(std::vector<float>(9, 1.0f / 9)), std::log(9), 3e-5);
  EXPECT_NEAR(entropy_of({1, 0, 0, 0, 0, 0, 0, 0, 0}), 0, 1e-6);
  EXPECT_NEAR(entropy_of({1, 1e-40f, 1e-38f, 0, 0, 0, 0, 0, 0}), 0, 1e-6);
  EXPECT_NEAR(entropy_of({0.5f, 0, 0, 0, 0, 0, 0, 0, 0.5f}), std::log(2), 3e-5);
}

TEST(RoutingStatistics, NonFiniteTokensAreCountedApart) {
  ops::Context context(1);
  const RouterCase test = make_case("softmax_topk", 6, 2);
  RouterData<float> data(test, 10, 3);
  RoutingStatistics clean;
  clean.add(router_forward(context, test.config, data.slice(test, 0, 9)));
  data.logits_TE[9 * 6 + 2] = std::numeric_limits<float>::quiet_NaN();
  RoutingStatistics statistics;
  statistics.add(router_forward(context, test.config, data.input));
  EXPECT_EQ(statistics.nonfinite_tokens(), 1);
  EXPECT_EQ(statistics.tokens(), 10);
  EXPECT_DOUBLE_EQ(statistics.balance().router_entropy, clean.balance().router_entropy);
}

TEST(RoutingStatistics, MergingEqualsCountingTogether) {
  ops::Context context(1);
  const RouterCase test = make_case("sigmoid_bias", 8, 2);
  const RouterData<float> data(test, 60, 3);
  RoutingStatistics together;
  RoutingStatistics merged;
  RoutingStatistics parts[2];
  for (int i = 0; i < 2; ++i) {
    const auto decision = router_forward(context, test.config, data.slice(test, 30 * i, 30));
    together.add(decision);
    parts[i].add(decision);
    parts[i].add_store_accesses(3, 1);
  }
  together.add_store_accesses(6, 2);
  merged.merge(RoutingStatistics());
  for (const RoutingStatistics& part : parts) merged.merge(part);
  const RoutingStatistics a[] = {together};
  const RoutingStatistics b[] = {merged};
  EXPECT_EQ(statistics_json(a, true), statistics_json(b, true));
  merged.reset();
  EXPECT_EQ(merged.n_experts(), 8);
  EXPECT_EQ(merged.tokens(), 0);
  EXPECT_EQ(merged.coactivation(0, 1), 0);
  EXPECT_EQ(merged.balance().load_entropy, 0);
}

TEST(RoutingStatistics, TextHasOneSchema) {
  RoutingDecision decision;
  decision.n_tokens = 2;
  decision.n_experts = 2;
  decision.k = 2;
  decision.topk_ids_TK = {0, 1, 1, 0};
  decision.topk_weights_TK.assign(4, 0.5f);
  RoutingStatistics layers[2];  // layer 0 is dense: nothing counted
  layers[1].add(decision);
  layers[1].add_store_accesses(5, 7);
  const double entropy = layers[1].balance().load_entropy;
  EXPECT_EQ(statistics_json(layers, true),
            fmt::format("{{\"schema\":\"conclave.routing/1\",\"layers\":[{{\"layer\":1,"
                        "\"experts\":2,\"tokens\":2,\"choices\":4,\"dropped\":0,"
                        "\"nonfinite_tokens\":0,\"store_hits\":5,\"store_misses\":7,"
                        "\"load_entropy\":{},\"router_entropy\":0,\"max_over_mean\":1,"
                        "\"min_over_mean\":1,\"max_violation\":0,\"dead_experts\":0,"
                        "\"tokens_per_expert\":[2,2],\"coactivation\":[[2,2],[2,2]]}}]}}",
                        entropy));
  EXPECT_EQ(statistics_json({}, false), "{\"schema\":\"conclave.routing/1\",\"layers\":[]}");
  const std::string prometheus = statistics_prometheus(layers);
  for (const char* line : {"# TYPE conclave_routed_tokens_total counter\n",
                           "\nconclave_routed_tokens_total{layer=\"1\"} 2\n",
                           "\nconclave_store_misses_total{layer=\"1\"} 7\n",
                           "\nconclave_expert_tokens_total{layer=\"1\",expert=\"1\"} 2\n"}) {
    EXPECT_NE(prometheus.find(line), std::string::npos) << line << " in\n" << prometheus;
  }
  EXPECT_EQ(prometheus.find("layer=\"0\""), std::string::npos);
}

TEST(RoutingStatistics, WithoutCoactivationTheRestStays) {
  ops::Context context(1);
  const RouterCase test = make_case("softmax_topk", 6, 2);
  const RouterData<float> data(test, 50, 3);
  RoutingStatistics full, lean;
  full.add(router_forward(context, test.config, data.input));
  lean = full;
  lean.drop_coactivation();
  EXPECT_FALSE(lean.has_coactivation());
  EXPECT_EQ(lean.coactivation(2, 2), full.coactivation(2, 2));
  EXPECT_EQ(lean.balance().router_entropy, full.balance().router_entropy);
  RoutingStatistics merged = full;
  merged.merge(lean);
  EXPECT_EQ(merged.tokens(), 100);
  EXPECT_FALSE(merged.has_coactivation());
  RoutingStatistics fresh;
  fresh.merge(lean);
  fresh.merge(full);
  EXPECT_EQ(fresh.tokens(), 100);
  EXPECT_FALSE(fresh.has_coactivation());
}

}  // namespace
}  // namespace conclave::moe
