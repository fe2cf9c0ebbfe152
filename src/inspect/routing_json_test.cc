#include "inspect/routing_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

namespace conclave::inspect {
namespace {

using nlohmann::json;

moe::RoutingDecision two_slots(std::vector<std::int32_t> topk_ids_TK) {
  moe::RoutingDecision decision;
  decision.n_experts = 3;
  decision.k = 2;
  decision.n_tokens = static_cast<int>(topk_ids_TK.size()) / 2;
  decision.topk_weights_TK.assign(topk_ids_TK.size(), 0.5f);
  decision.topk_ids_TK = std::move(topk_ids_TK);
  return decision;
}

RoutingSummary small_summary(SummaryOptions options = {}) {
  RoutingAnalysis analysis(2, 3, 2, {"one", "two \xff\n</script>"}, 9);
  const std::vector<std::int32_t> ids = {1, 2, 8};
  for (int label = 0; label < 2; ++label) {
    analysis.add(label, 0, ids, two_slots({0, 1, 1, 0, label, 2}));
    analysis.add(label, 1, ids, two_slots({2, 1, 1, 2, 2, label}));
  }
  options.min_token_count = 1;
  options.min_expected_pairs = 0.1;
  return summarise(analysis, options);
}

std::set<std::string> keys_of(const json& object) {
  std::set<std::string> keys;
  for (const auto& item : object.items()) keys.insert(item.key());
  return keys;
}

// A change here is a change of the schema: programs read these keys.
TEST(RoutingJson, Schema) {
  const json document = routing_json(small_summary());
  using Keys = std::set<std::string>;
  EXPECT_EQ(document["schema"], "conclave.routing_analysis/1");
  EXPECT_EQ(keys_of(document), (Keys{"schema", "n_experts", "k", "vocab_size", "tokens", "labels",
                                     "overall", "layers"}));
  EXPECT_EQ(keys_of(document["labels"][0]), (Keys{"name", "tokens"}));
  EXPECT_EQ(keys_of(document["overall"]),
            (Keys{"max_vio", "max_vio_mean", "dead_experts", "nmi_mean", "nmi_random_mean"}));
  const json& layer = document["layers"][1];
  EXPECT_EQ(keys_of(layer), (Keys{"layer",
                                  "tokens",
                                  "choices",
                                  "dropped",
                                  "unused_slots",
                                  "max_vio",
                                  "dead_experts",
                                  "load_entropy",
                                  "router_entropy",
                                  "nmi",
                                  "nmi_random",
                                  "repeat_rate",
                                  "repeat_rate_random",
                                  "label_expert",
                                  "label_expert_top1",
                                  "coactivation",
                                  "coactivation_expected",
                                  "top_pairs",
                                  "flow",
                                  "experts"}));
  EXPECT_EQ(keys_of(layer["top_pairs"][0]), (Keys{"a", "b", "count", "expected", "lift"}));
  const json& expert = layer["experts"][2];
  EXPECT_EQ(keys_of(expert), (Keys{"expert", "choices", "top1", "load_share", "weight_share",
                                   "words", "labels", "favourites", "frequent"}));
  EXPECT_EQ(keys_of(expert["labels"][0]), (Keys{"label", "count", "share", "lift"}));
  EXPECT_EQ(keys_of(expert["frequent"][0]), (Keys{"id", "text", "count", "share", "lift"}));
}

TEST(RoutingJson, Values) {
  const json document = routing_json(small_summary());
  EXPECT_EQ(document["tokens"], 6);
  EXPECT_EQ(document["layers"][0]["label_expert"], (json{{3, 2, 1}, {2, 3, 1}}));
  EXPECT_EQ(document["layers"][0]["label_expert_top1"], (json{{2, 1, 0}, {1, 2, 0}}));
  EXPECT_EQ(document["layers"][0]["coactivation"], (json{{5, 4, 1}, {4, 5, 1}, {1, 1, 2}}));
  EXPECT_TRUE(document["layers"][0]["flow"].is_null());
  EXPECT_TRUE(document["layers"][0]["router_entropy"].is_null());
  // Top-1 of layer 0: 0 1 0 | 0 1 1; of layer 1: 2 1 2 | 2 1 2.
  EXPECT_EQ(document["layers"][1]["flow"], (json{{0, 0, 3}, {0, 2, 1}, {0, 0, 0}}));
}

TEST(RoutingJson, LargeTablesAreLeftOut) {
  const json document = routing_json(small_summary(), 2);
  EXPECT_TRUE(document["layers"][1]["coactivation"].is_null());
  EXPECT_TRUE(document["layers"][1]["coactivation_expected"].is_null());
  EXPECT_TRUE(document["layers"][1]["flow"].is_null());
  EXPECT_FALSE(document["layers"][1]["top_pairs"].empty());
}

TEST(RoutingJson, HostileNamesStayText) {
  SummaryOptions options;
  options.token_text = [](std::int32_t id) {
    return id == 1 ? std::string("\xe2\x80\xae\x00\"\\", 6) : std::string("\xc3");
  };
  const json document = json::parse(routing_json(small_summary(options)).dump());
  EXPECT_EQ(document["labels"][1]["name"], "two \xef\xbf\xbd </script>");
  const auto& frequent = document["layers"][0]["experts"][0]["frequent"];
  EXPECT_EQ(frequent[0]["text"], "<U+202E><U+0000>\"\\");
  EXPECT_EQ(frequent[1]["text"], "<0xC3>");
}

}  // namespace
}  // namespace conclave::inspect
