#include "inspect/routing_analysis.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/error.h"

namespace conclave::inspect {
namespace {

using Counts = std::vector<std::int64_t>;
using Ids = std::vector<std::int32_t>;

moe::RoutingDecision decision_of(int n_experts, int k, Ids topk_ids_TK) {
  moe::RoutingDecision decision;
  decision.n_experts = n_experts;
  decision.k = k;
  decision.n_tokens = static_cast<int>(topk_ids_TK.size()) / k;
  decision.topk_weights_TK.assign(topk_ids_TK.size(), 1.0f / static_cast<float>(k));
  decision.topk_ids_TK = std::move(topk_ids_TK);
  return decision;
}

// Two labels, three experts, two slots, two layers; the counts below are done by hand.
class TinyStream : public testing::Test {
 protected:
  void SetUp() override {
    const Ids first = {4, 5, 4};
    moe::RoutingDecision layer0 = decision_of(3, 2, {0, 1, 0, 2, 1, 0});
    layer0.topk_weights_TK = {0.75f, 0.25f, 0.5f, 0.5f, 0.625f, 0.375f};
    layer0.scores_TE = {0.5f, 0.5f, 0, 0.25f, 0.25f, 0.5f, 1, 0, 0};
    analysis.add(0, 0, first, layer0);
    analysis.add(0, 1, first, decision_of(3, 2, {2, 0, 2, 1, 2, 0}));

    const Ids second = {7, 5};
    moe::RoutingDecision other = decision_of(3, 2, {1, 2, moe::kNoExpert, 2});
    other.topk_weights_TK = {1, 0.5f, 0, 0.25f};
    other.dropped_TK = {0, 1, 0, 0};
    analysis.add(1, 0, second, other);
    analysis.add(1, 1, second,
                 decision_of(3, 2, {moe::kNoExpert, moe::kNoExpert, 1, moe::kNoExpert}));
  }
  RoutingAnalysis analysis{2, 3, 2, {"alpha", "beta"}, 10};
};

TEST_F(TinyStream, CountsChoicesByLabel) {
  EXPECT_EQ(analysis.tokens_per_label(), (Counts{3, 2}));
  const LayerCounts& layer = analysis.layer(0);
  EXPECT_EQ(layer.tokens, 5);
  EXPECT_EQ(layer.choices, 9);
  EXPECT_EQ(layer.unused_slots, 1);
  EXPECT_EQ(layer.dropped, 1);
  EXPECT_EQ(layer.label_expert_CE, (Counts{3, 2, 1, 0, 1, 2}));
  // The first used slot of the last token is its second.
  EXPECT_EQ(layer.label_expert_top1_CE, (Counts{2, 1, 0, 0, 1, 1}));
  // The dropped slot (expert 2, weight 0.5) brings no weight.
  EXPECT_EQ(layer.weight_E,
            (std::vector<double>{0.75 + 0.5 + 0.375, 0.25 + 0.625 + 1, 0.5 + 0.25}));
}

TEST_F(TinyStream, CountsPairsAndNeighbours) {
  const LayerCounts& layer = analysis.layer(0);
  EXPECT_EQ(layer.coactivation_EE, (Counts{3, 2, 1, 2, 3, 1, 1, 1, 3}));
  // Top-1: 0 0 1 | 1 2, and chunks do not touch.
  EXPECT_EQ(layer.adjacent_pairs, 3);
  EXPECT_EQ(layer.adjacent_repeats, 1);
  // Layer 1: 2 2 2 | none 1.
  EXPECT_EQ(analysis.layer(1).adjacent_pairs, 2);
  EXPECT_EQ(analysis.layer(1).adjacent_repeats, 2);
  EXPECT_EQ(analysis.layer(1).unused_slots, 3);
  EXPECT_EQ(analysis.layer(1).coactivation_EE, (Counts{2, 0, 2, 0, 2, 1, 2, 1, 3}));
}

TEST_F(TinyStream, FollowsTokensFromLayerToLayer) {
  EXPECT_TRUE(analysis.layer(0).flow_EE.empty());
  // 0->2, 0->2, 1->2 | (1->none), 2->1.
  EXPECT_EQ(analysis.layer(1).flow_EE, (Counts{0, 0, 2, 0, 0, 1, 0, 1, 0}));
}

TEST_F(TinyStream, CountsTokenIdsByExpert) {
  const TokenCounter& tokens = analysis.layer(0).tokens_by_expert;
  EXPECT_EQ(tokens.count(0, 4), 2);
  EXPECT_EQ(tokens.count(0, 5), 1);
  EXPECT_EQ(tokens.count(2, 5), 2);
  EXPECT_EQ(tokens.count(2, 7), 1);  // dropped, and still what the router wanted
  EXPECT_EQ(tokens.count(0, 7), 0);
}

TEST_F(TinyStream, AveragesTheScoresEntropy) {
  // ln 2, 1.5 ln 2 and 0; the second chunk has no scores.
  EXPECT_EQ(analysis.layer(0).router_entropy_tokens, 3);
  EXPECT_NEAR(analysis.layer(0).router_entropy_sum, 2.5 * std::log(2), 1e-12);
  EXPECT_EQ(analysis.layer(1).router_entropy_tokens, 0);
}

TEST(RoutingAnalysis, ScoresThatAreNoDistributionAreLeftOut) {
  RoutingAnalysis analysis(1, 2, 1, {"a"}, 4);
  moe::RoutingDecision decision = decision_of(2, 1, {0, 1, 0, 1, 1});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  decision.scores_TE = {nan, 1, 0, 0, inf, 1, -1, 2, 3, 3};  // the last: not normalised, but fine
  decision.topk_weights_TK = {nan, inf, 1, 1, 1};
  analysis.add(0, 0, Ids{0, 1, 2, 3, 0}, decision);
  EXPECT_EQ(analysis.layer(0).router_entropy_tokens, 1);
  EXPECT_NEAR(analysis.layer(0).router_entropy_sum, std::log(2), 1e-12);
  EXPECT_EQ(analysis.layer(0).weight_E, (std::vector<double>{1, 2}));
}

TEST(RoutingAnalysis, CuttingTheTextChangesOnlyTheNeighbours) {
  const Ids ids = {1, 2, 3, 1, 2, 3};
  const Ids experts = {0, 1, 1, 2, 2, 2};
  RoutingAnalysis whole(1, 3, 1, {"a"}, 4);
  whole.add(0, 0, ids, decision_of(3, 1, experts));
  RoutingAnalysis cut(1, 3, 1, {"a"}, 4);
  for (std::size_t i = 0; i < ids.size(); i += 2) {
    cut.add(0, 0, std::span(ids).subspan(i, 2), decision_of(3, 1, {experts[i], experts[i + 1]}));
  }
  EXPECT_EQ(whole.layer(0).label_expert_CE, cut.layer(0).label_expert_CE);
  EXPECT_EQ(whole.layer(0).coactivation_EE, cut.layer(0).coactivation_EE);
  EXPECT_EQ(whole.layer(0).adjacent_pairs, 5);
  EXPECT_EQ(cut.layer(0).adjacent_pairs, 3);
}

TEST(RoutingAnalysis, EmptyChunksAndManyExperts) {
  RoutingAnalysis analysis(1, kMaxPairExperts + 1, 1, {"a"}, 4);
  analysis.add(0, 0, {}, decision_of(kMaxPairExperts + 1, 1, {}));
  analysis.add(0, 0, Ids{3}, decision_of(kMaxPairExperts + 1, 1, {kMaxPairExperts}));
  EXPECT_EQ(analysis.layer(0).tokens, 1);
  EXPECT_TRUE(analysis.layer(0).coactivation_EE.empty());
}

template <class Call>
void expect_refused(Call call, const std::string& words) {
  try {
    call();
    FAIL() << "expected an error with '" << words << "'";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
    EXPECT_NE(error.message().find(words), std::string::npos) << error.message();
  }
}

TEST(RoutingAnalysis, RefusesWhatItCannotCount) {
  RoutingAnalysis analysis(2, 3, 1, {"a", "b"}, 10);
  const auto fine = decision_of(3, 1, {0, 1});
  const Ids ids = {1, 2};
  const auto add = [&](int label, int layer, const Ids& tokens,
                       const moe::RoutingDecision& decision) {
    return [&analysis, label, layer, tokens, decision] {
      analysis.add(label, layer, tokens, decision);
    };
  };
  expect_refused(add(2, 0, ids, fine), "label: found 2, expected 0..1");
  expect_refused(add(-1, 0, ids, fine), "label: found -1");
  expect_refused(add(0, 1, ids, fine), "layer");
  expect_refused(add(0, 0, {1}, fine), "tokens of the decision: found 2, expected 1..1");
  expect_refused(add(0, 0, {1, 10}, fine), "token id: found 10, expected 0..9");
  expect_refused(add(0, 0, {1, -1}, fine), "token id: found -1");
  expect_refused(add(0, 0, ids, decision_of(3, 1, {0, 3})), "expert id: found 3, expected -1..2");
  expect_refused(add(0, 0, ids, decision_of(3, 1, {0, -2})), "expert id: found -2");
  expect_refused(add(0, 0, ids, decision_of(4, 1, {0, 1})), "experts of the decision");
  expect_refused(add(0, 0, ids, decision_of(3, 2, {0, 1, 1, 0})), "slots of the decision");
  for (const auto member :
       {&moe::RoutingDecision::topk_weights_TK, &moe::RoutingDecision::scores_TE}) {
    auto broken = fine;
    (broken.*member).assign(1, 0.5f);
    expect_refused(add(0, 0, ids, broken), "found 1, expected");
  }
  auto broken = fine;
  broken.dropped_TK = {1};
  expect_refused(add(0, 0, ids, broken), "dropped_TK");

  EXPECT_EQ(analysis.layer(0).tokens, 0);
  EXPECT_EQ(analysis.tokens_per_label(), (Counts{0, 0}));
  analysis.add(0, 0, ids, fine);
  expect_refused(add(1, 1, ids, fine), "label of the chunk in progress");
  expect_refused(add(0, 1, {1, 3}, fine), "other token ids");
  expect_refused(add(0, 0, ids, fine), "layer");
  analysis.add(0, 1, ids, fine);
}

TEST(RoutingAnalysis, RefusesSizesThatMakeNoSense) {
  expect_refused([] { RoutingAnalysis(0, 3, 1, {"a"}, 10); }, "layers");
  expect_refused([] { RoutingAnalysis(1, 0, 1, {"a"}, 10); }, "experts");
  expect_refused([] { RoutingAnalysis(1, 3, 4, {"a"}, 10); }, "slots per token: found 4");
  expect_refused([] { RoutingAnalysis(1, 3, 0, {"a"}, 10); }, "slots per token");
  expect_refused([] { RoutingAnalysis(1, 3, 1, {}, 10); }, "labels");
  expect_refused([] { RoutingAnalysis(1, 3, 1, {"a"}, 0); }, "vocabulary");
  expect_refused([] { RoutingAnalysis(2, 3, 1, {"a"}, 9, {1}); }, "layer ids");
}

}  // namespace
}  // namespace conclave::inspect
