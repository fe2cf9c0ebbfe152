#include "inspect/routing_summary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "inspect/expert_words.h"

namespace conclave::inspect {
namespace {

using Ids = std::vector<std::int32_t>;

moe::RoutingDecision decision_of(int n_experts, int k, Ids topk_ids_TK) {
  moe::RoutingDecision decision;
  decision.n_experts = n_experts;
  decision.k = k;
  decision.n_tokens = static_cast<int>(topk_ids_TK.size()) / k;
  decision.topk_weights_TK.assign(topk_ids_TK.size(), 1);
  decision.topk_ids_TK = std::move(topk_ids_TK);
  return decision;
}

// Adds `n` tokens `id` of a label that all go to the same expert (K = 1, one layer).
void add_many(RoutingAnalysis& analysis, int label, int n, std::int32_t id, std::int32_t expert) {
  const std::size_t count = static_cast<std::size_t>(n);
  analysis.add(label, 0, Ids(count, id), decision_of(analysis.n_experts(), 1, Ids(count, expert)));
}

std::string spelled(std::int32_t id) { return id == 3 ? " x" : "t" + std::to_string(id); }

// 200 tokens of label a: 100 of id 1 and 60 of id 2 to expert 0, 40 of id 3 to expert 1;
// 100 tokens of label b: 20 of id 2 to expert 0, 80 of id 3 to expert 1; expert 2 gets nothing.
class TwoLabels : public testing::Test {
 protected:
  void SetUp() override {
    add_many(analysis, 0, 100, 1, 0);
    add_many(analysis, 0, 60, 2, 0);
    add_many(analysis, 0, 40, 3, 1);
    add_many(analysis, 1, 20, 2, 0);
    add_many(analysis, 1, 80, 3, 1);
    SummaryOptions options;
    options.token_text = spelled;
    summary = summarise(analysis, options);
  }
  RoutingAnalysis analysis{1, 3, 1, {"a", "b"}, 10, {7}};
  RoutingSummary summary;
};

TEST_F(TwoLabels, Balance) {
  const LayerFigures& layer = summary.layers.at(0);
  EXPECT_EQ(layer.layer, 7);
  EXPECT_EQ(layer.choices, 300);
  EXPECT_NEAR(layer.max_vio, (180 - 100) / 100.0, 1e-12);
  EXPECT_EQ(layer.dead_experts, std::vector<int>{2});
  EXPECT_NEAR(layer.load_entropy, -0.6 * std::log(0.6) - 0.4 * std::log(0.4), 1e-12);
  EXPECT_FALSE(layer.router_entropy);
  EXPECT_EQ(summary.max_vio, layer.max_vio);
  EXPECT_EQ(summary.max_vio_mean, layer.max_vio);
  EXPECT_EQ(summary.dead_experts, 1);
  EXPECT_EQ(summary.tokens, 300);
}

TEST_F(TwoLabels, Specialisation) {
  const LayerFigures& layer = summary.layers.at(0);
  // Table {160, 40; 20, 80} of 300.
  const auto term = [](double n, double a, double b) {
    return n / 300 * std::log(n * 300 / (a * b));
  };
  const double information =
      term(160, 200, 180) + term(40, 200, 120) + term(20, 100, 180) + term(80, 100, 120);
  const double labels = -2.0 / 3 * std::log(2.0 / 3) - 1.0 / 3 * std::log(1.0 / 3);
  EXPECT_NEAR(layer.nmi.value(), information / std::sqrt(labels * layer.load_entropy), 1e-12);
  EXPECT_LT(layer.nmi_random.value(), 0.02 * layer.nmi.value());
  EXPECT_EQ(summary.nmi_mean, layer.nmi);
  // All but one neighbour pair of each chunk's n - 1 repeats; here every one does.
  EXPECT_EQ(layer.repeat_rate.value(), 1);
  EXPECT_NEAR(layer.repeat_rate_random, 0.6 * 0.6 + 0.4 * 0.4, 1e-12);
}

TEST_F(TwoLabels, SharesAndLifts) {
  const ExpertFigures& expert = summary.layers.at(0).experts.at(1);
  EXPECT_EQ(expert.choices, 120);
  EXPECT_NEAR(expert.load_share, 0.4, 1e-12);
  EXPECT_NEAR(expert.weight_share, 0.4, 1e-12);
  EXPECT_NEAR(expert.labels.at(1).share, 80.0 / 120, 1e-12);
  EXPECT_NEAR(expert.labels.at(1).lift, 80.0 / 120 / (100.0 / 300), 1e-12);
  EXPECT_EQ(summary.layers.at(0).experts.at(2).load_share, 0);
}

TEST_F(TwoLabels, FavouriteTokens) {
  const auto& experts = summary.layers.at(0).experts;
  // Both ids of expert 0 come only to it: same lift, the more frequent first.
  ASSERT_EQ(experts[0].favourites.size(), 2u);
  EXPECT_EQ(experts[0].favourites[0].id, 1);
  EXPECT_NEAR(experts[0].favourites[0].lift, (100.0 / 180) / (100.0 / 300), 1e-12);
  EXPECT_EQ(experts[0].frequent.at(0).count, 100);
  EXPECT_NEAR(experts[0].frequent.at(1).share, 80.0 / 180, 1e-12);
  EXPECT_EQ(experts[1].favourites.at(0).text, "\xe2\x90\xa3x");
  EXPECT_TRUE(experts[2].favourites.empty());
}

TEST_F(TwoLabels, Words) {
  const auto& experts = summary.layers.at(0).experts;
  EXPECT_EQ(experts[1].words,
            "Expert 1 of layer 7 handles mostly b (67 % of its tokens, 2.0 times the average); "
            "likes: \"\xe2\x90\xa3x\".");
  EXPECT_EQ(experts[0].words,
            "Expert 0 of layer 7 works for all domains about alike (most for a, 1.3 times the "
            "average); likes: \"t1\", \"t2\".");
  EXPECT_EQ(experts[2].words, "Expert 2 of layer 7 was never chosen.");
}

TEST(ExpertWords, OtherCases) {
  const std::vector<LabelTotal> labels = {{"A", 1}, {"B", 1}, {"C", 1}, {"D", 1}};
  ExpertFigures expert;
  expert.expert = 4;
  expert.choices = 1;
  EXPECT_EQ(expert_words(expert, 0, labels),
            "Expert 4 of layer 0 was chosen 1 time, too few to say what it does.");
  expert.choices = 1000;
  expert.labels = {{0, 450, 0.45, 1.8}, {1, 100, 0.1, 0.4}, {2, 440, 0.44, 1.76}, {3, 10, 0.01, 9}};
  EXPECT_EQ(
      expert_words(expert, 0, labels),
      "Expert 4 of layer 0 leans to A (45 % of its tokens, 1.8 times the average) and C (44 % "
      "of its tokens, 1.8 times the average).");
  // With one label there is no domain to speak of.
  expert.labels = {{0, 1000, 1, 1}};
  expert.load_share = 0.004;
  EXPECT_EQ(expert_words(expert, 0, {{"A", 1}}),
            "Expert 4 of layer 0 takes under 1 % of the choices and has no favourite tokens.");
  expert.favourites = {{3, "x", 20, 0.02, 4}};
  EXPECT_EQ(expert_words(expert, 0, {{"A", 1}}), "Expert 4 of layer 0 likes: \"x\".");
}

TEST(RoutingSummary, FavouritesNeedEnoughTokens) {
  RoutingAnalysis analysis(1, 2, 1, {"a"}, 10);
  add_many(analysis, 0, 4, 1, 0);
  add_many(analysis, 0, 5, 2, 0);
  add_many(analysis, 0, 100, 3, 1);
  const auto summary = summarise(analysis);
  ASSERT_EQ(summary.layers[0].experts[0].favourites.size(), 1u);
  EXPECT_EQ(summary.layers[0].experts[0].favourites[0].id, 2);
  EXPECT_EQ(summary.layers[0].experts[0].favourites[0].text, "#2");
  EXPECT_EQ(summary.layers[0].experts[0].frequent.size(), 2u);
  EXPECT_FALSE(summary.layers[0].nmi);
}

// A rare token that came only to one expert ranks behind a frequent one that nearly always did.
TEST(RoutingSummary, FavouritesAreRankedByEvidence) {
  RoutingAnalysis analysis(1, 2, 1, {"a"}, 10);
  add_many(analysis, 0, 6, 1, 0);
  add_many(analysis, 0, 990, 2, 0);
  add_many(analysis, 0, 10, 2, 1);
  add_many(analysis, 0, 1000, 3, 1);
  const auto favourites = summarise(analysis).layers[0].experts[0].favourites;
  ASSERT_EQ(favourites.size(), 2u);
  EXPECT_EQ(favourites[0].id, 2);
  EXPECT_EQ(favourites[1].id, 1);
  EXPECT_GT(favourites[1].lift, favourites[0].lift);
}

TEST(RoutingSummary, LongTokensAreCutBetweenCharacters) {
  RoutingAnalysis analysis(1, 1, 1, {"a"}, 10);
  add_many(analysis, 0, 1, 0, 0);
  SummaryOptions options;
  options.token_text = [](std::int32_t) {
    std::string text = "a";
    for (int i = 0; i < 100; ++i) text += "\xc3\xa9";
    return text;
  };
  std::string expected = "a";
  for (int i = 0; i < 23; ++i) expected += "\xc3\xa9";
  EXPECT_EQ(summarise(analysis, options).layers[0].experts[0].frequent.at(0).text,
            expected + "...");
}

TEST(RoutingSummary, NothingCounted) {
  RoutingAnalysis analysis(2, 4, 2, {"a", "b"}, 10);
  analysis.add(1, 0, {}, decision_of(4, 2, {}));
  const auto summary = summarise(analysis);
  EXPECT_EQ(summary.tokens, 0);
  EXPECT_EQ(summary.max_vio, 0);
  EXPECT_EQ(summary.dead_experts, 8);
  EXPECT_FALSE(summary.nmi_mean);
  for (const LayerFigures& layer : summary.layers) {
    EXPECT_FALSE(layer.repeat_rate);
    EXPECT_EQ(layer.repeat_rate_random, 0);
    EXPECT_TRUE(layer.top_pairs.empty());
    for (const ExpertFigures& expert : layer.experts) {
      EXPECT_EQ(expert.weight_share, 0);
      for (const LabelFigures& label : expert.labels) EXPECT_EQ(label.lift, 0);
    }
  }
}

// Every expert gets every token: perfect balance, no favourites, every pair exactly at chance.
TEST(RoutingSummary, AllExpertsChosen) {
  RoutingAnalysis analysis(1, 3, 3, {"a", "b"}, 10);
  Ids ids, experts;
  for (std::int32_t t = 0; t < 60; ++t) {
    ids.push_back(t % 7);
    for (std::int32_t e = 0; e < 3; ++e) experts.push_back((t + e) % 3);
  }
  analysis.add(0, 0, ids, decision_of(3, 3, experts));
  analysis.add(1, 0, ids, decision_of(3, 3, experts));
  const auto layer = summarise(analysis).layers.at(0);
  EXPECT_EQ(layer.max_vio, 0);
  for (const ExpertFigures& expert : layer.experts) EXPECT_TRUE(expert.favourites.empty());
  ASSERT_EQ(layer.top_pairs.size(), 3u);
  for (const PairFigures& pair : layer.top_pairs) EXPECT_NEAR(pair.lift, 1, 1e-6);
  EXPECT_NEAR(layer.nmi.value(), 0, 1e-12);
}

// Experts 0 and 1 always together, and 2 and 3.
TEST(RoutingSummary, PairsAboveChance) {
  RoutingAnalysis analysis(1, 4, 2, {"a"}, 10);
  Ids ids, experts;
  for (std::int32_t t = 0; t < 200; ++t) {
    ids.push_back(0);
    experts.push_back(t % 2 * 2);
    experts.push_back(t % 2 * 2 + 1);
  }
  analysis.add(0, 0, ids, decision_of(4, 2, experts));
  const auto pairs = summarise(analysis).layers.at(0).top_pairs;
  ASSERT_GE(pairs.size(), 2u);
  for (const PairFigures& pair : {pairs[0], pairs[1]}) EXPECT_EQ(pair.a ^ 1, pair.b);
  EXPECT_NE(pairs[0].a, pairs[1].a);
  EXPECT_EQ(pairs[0].count, 100);
  EXPECT_NEAR(pairs[0].lift, 3, 1e-5);  // of three possible partners always the same
}

}  // namespace
}  // namespace conclave::inspect
