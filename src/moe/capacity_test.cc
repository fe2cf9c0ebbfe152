#include "moe/capacity.h"

#include <gtest/gtest.h>

#include <map>

#include "moe/plan.h"
#include "moe/routers/test_cases.h"

namespace conclave::moe {
namespace {

// Three experts, two choices: expert 0 is wanted by all.
RoutingDecision crowded() {
  RoutingDecision decision;
  decision.n_tokens = 4;
  decision.n_experts = 3;
  decision.k = 2;
  decision.topk_ids_TK = {1, 0, 0, 1, 0, 2, 0, 2};
  decision.topk_weights_TK = {0.6f, 0.4f, 0.7f, 0.3f, 0.55f, 0.45f, 0.9f, 0.1f};
  return decision;
}

TEST(Capacity, CountIsRoundedUpAndBounded) {
  EXPECT_EQ(expert_capacity(10, 2, 4, 1.0), 5);
  EXPECT_EQ(expert_capacity(10, 2, 4, 1.1), 6);
  EXPECT_EQ(expert_capacity(1100, 1, 10, 1.1), 121);  // 110 * 1.1 is 121.00000000000001
  EXPECT_EQ(expert_capacity(0, 2, 4, 1.25), 0);
  EXPECT_EQ(expert_capacity(1, 1, 64, 0.01), 1);
  EXPECT_EQ(expert_capacity(8, 2, 4, 1e6), 8);
  EXPECT_EQ(expert_capacity(2147483647, 65536, 65536, 1.0), 2147483647);
}

TEST(Capacity, PositionTakesFirstChoicesFirst) {
  RoutingDecision decision = crowded();
  // Expert 0: first choice of tokens 1, 2, 3; token 0's second choice comes after them.
  EXPECT_EQ(apply_capacity(2, CapacityOrder::kPosition, decision), 2);
  EXPECT_EQ(decision.dropped_TK, (std::vector<std::uint8_t>{0, 1, 0, 0, 0, 0, 1, 0}));
  EXPECT_EQ(decision.topk_ids_TK, crowded().topk_ids_TK);
  EXPECT_EQ(decision.topk_weights_TK, crowded().topk_weights_TK);
}

TEST(Capacity, ProbabilityKeepsTheLargestWeights) {
  RoutingDecision decision = crowded();
  EXPECT_EQ(apply_capacity(2, CapacityOrder::kProbability, decision), 2);
  EXPECT_EQ(decision.dropped_TK, (std::vector<std::uint8_t>{0, 1, 0, 0, 1, 0, 0, 0}));
  decision.topk_weights_TK.assign(8, 0.5f);  // ties: the earlier token stays
  EXPECT_EQ(apply_capacity(2, CapacityOrder::kProbability, decision), 2);
  EXPECT_EQ(decision.dropped_TK, (std::vector<std::uint8_t>{0, 0, 0, 0, 1, 0, 1, 0}));
}

TEST(Capacity, NothingToDropLeavesNoMarks) {
  RoutingDecision decision = crowded();
  apply_capacity(1, CapacityOrder::kPosition, decision);
  EXPECT_FALSE(decision.dropped_TK.empty());
  EXPECT_EQ(apply_capacity(4, CapacityOrder::kPosition, decision), 0);
  EXPECT_TRUE(decision.dropped_TK.empty());
}

TEST(Capacity, EveryExpertStaysWithinItOnRealDecisions) {
  ops::Context context(1);
  for (const CapacityOrder order : {CapacityOrder::kPosition, CapacityOrder::kProbability}) {
    for (const double factor : {0.1, 0.5, 1.0, 8.0}) {
      testing::RouterCase test;
      test.config = default_router_config("softmax_topk");
      test.config.n_experts = 8;
      test.config.k = 2;
      test.config.capacity_factor = factor;
      test.config.capacity_order = order;
      test.training = true;
      const testing::RouterData<float> data(test, 101, 3);
      const auto decision = router_forward(context, test.config, data.input);
      const DispatchPlan plan = make_plan(decision);
      const std::int64_t capacity = expert_capacity(101, 2, 8, factor);
      for (const std::int32_t count : plan.tokens_per_expert_E) EXPECT_LE(count, capacity);
      EXPECT_EQ(plan.n_rows() + plan.n_dropped, 202);
      EXPECT_EQ(plan.n_dropped == 0, factor == 8.0);
      // At inference nothing is ever dropped.
      test.training = false;
      RouterInput input = data.input;
      input.training = false;
      EXPECT_TRUE(router_forward(context, test.config, input).dropped_TK.empty());
    }
  }
}

}  // namespace
}  // namespace conclave::moe
