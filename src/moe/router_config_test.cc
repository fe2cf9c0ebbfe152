#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <sstream>

#include "base/error.h"
#include "moe/router.h"

namespace conclave::moe {
namespace {

// The message of the Error(kInvalidArgument) that `body` throws, or "".
std::string refusal(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
    return error.message();
  }
  return "";
}

RouterConfig make(std::string_view kind, int n_experts, int k) {
  RouterConfig config = default_router_config(kind);
  config.n_experts = n_experts;
  config.k = k;
  return config;
}

std::string refusal_of(RouterConfig config, const std::function<void(RouterConfig&)>& change) {
  change(config);
  return refusal([&] { check_trainable(config); });
}

TEST(RouterConfig, DefaultsAreValidOnceSizesAreSet) {
  for (const RouterTraits& traits : router_list()) {
    const int k = traits.name == "switch_top1" ? 1 : 2;
    EXPECT_EQ(refusal([&] { check_trainable(make(traits.name, 8, k)); }), "") << traits.name;
  }
  EXPECT_EQ(default_router_config("switch_top1").k, 1);
  EXPECT_FALSE(default_router_config("switch_top1").renormalize);
  EXPECT_EQ(default_router_config("switch_top1").capacity_factor, 1.25);
}

TEST(RouterConfig, UnknownNamesListTheKnownAndSuggestTheNearest) {
  const std::string near = refusal([] { router_traits("softmax_topK"); });
  EXPECT_NE(near.find("did you mean 'softmax_topk'?"), std::string::npos) << near;
  for (const RouterTraits& traits : router_list()) {
    EXPECT_NE(near.find(traits.name), std::string::npos) << near;
  }
  const std::string far = refusal([] { router_traits("zzz"); });
  EXPECT_EQ(far.find("did you mean"), std::string::npos) << far;
  EXPECT_NE(refusal([] { router_traits(""); }), "");
  EXPECT_LT(refusal([] { router_traits(std::string(1 << 20, 'x')); }).size(), 500u);
}

TEST(RouterConfig, EveryFieldIsChecked) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInf = std::numeric_limits<double>::infinity();
  struct Bad {
    const char* kind;
    std::function<void(RouterConfig&)> change;
    const char* names;  // must be in the message
  };
  const Bad table[] = {
      {"softmax_topk", [](auto& c) { c.n_experts = 0; }, "n_experts = 0"},
      {"softmax_topk", [](auto& c) { c.n_experts = -8; }, "n_experts = -8"},
      {"softmax_topk", [](auto& c) { c.n_experts = 65537; }, "n_experts = 65537"},
      {"softmax_topk", [](auto& c) { c.k = 0; }, "k = 0"},
      {"softmax_topk", [](auto& c) { c.k = -1; }, "k = -1"},
      {"softmax_topk", [](auto& c) { c.k = 9; }, "k = 9"},
      {"softmax_topk", [](auto& c) { c.n_groups = 0; }, "n_groups = 0"},
      {"softmax_topk", [](auto& c) { c.n_groups = 3; }, "n_groups = 3"},
      {"softmax_topk", [](auto& c) { c.topk_groups = 2; }, "topk_groups = 2"},
      {"softmax_topk", [](auto& c) { c.topk_groups = 0; }, "topk_groups = 0"},
      {"sigmoid_bias", [](auto& c) { c.n_groups = 8, c.topk_groups = 4; }, "n_groups = 8"},
      {"sigmoid_bias", [](auto& c) { c.n_groups = 4, c.topk_groups = 1, c.k = 3; }, "k = 3"},
      {"switch_top1", [](auto& c) { c.n_groups = 2; }, "n_groups = 2"},
      {"switch_top1", [](auto& c) { c.k = 2; }, "k = 2"},
      {"switch_top1", [](auto& c) { c.renormalize = true; }, "renormalize"},
      {"noisy_topk", [](auto& c) { c.renormalize = false; }, "renormalize"},
      {"noisy_topk", [](auto& c) { c.noise_floor = 0; }, "noise_floor"},
      {"noisy_topk", [](auto& c) { c.noise_floor = kNan; }, "noise_floor"},
      {"expert_choice", [](auto& c) { c.renormalize = true; }, "renormalize"},
      {"expert_choice", [](auto& c) { c.capacity_factor = 1; }, "capacity_factor"},
      {"hash", [](auto& c) { c.renormalize = false; }, "renormalize"},
      {"hash", [](auto& c) { c.jitter = 0.1; }, "jitter"},
      {"hash", [](auto& c) { c.n_experts = 1000, c.k = 300; }, "k = 300"},
      {"softmax_topk", [](auto& c) { c.scale = 0; }, "scale"},
      {"softmax_topk", [](auto& c) { c.scale = -1; }, "scale"},
      {"softmax_topk", [](auto& c) { c.scale = kNan; }, "scale"},
      {"softmax_topk", [](auto& c) { c.scale = kInf; }, "scale"},
      {"softmax_topk", [](auto& c) { c.capacity_factor = -1; }, "capacity_factor"},
      {"softmax_topk", [](auto& c) { c.capacity_factor = kNan; }, "capacity_factor"},
      {"softmax_topk", [](auto& c) { c.capacity_factor = kInf; }, "capacity_factor"},
      {"softmax_topk", [](auto& c) { c.jitter = 1; }, "jitter"},
      {"softmax_topk", [](auto& c) { c.jitter = -0.1; }, "jitter"},
      {"softmax_topk", [](auto& c) { c.jitter = kNan; }, "jitter"},
      {"softmax_topk", [](auto& c) { c.norm_power = 0; }, "norm_power"},
      {"softmax_topk", [](auto& c) { c.norm_power = 65; }, "norm_power"},
      {"softmax_topk", [](auto& c) { c.norm_power = kNan; }, "norm_power"},
      {"softmax_topk", [](auto& c) { c.norm_power = 2, c.renormalize = false; }, "renormalize"},
      {"softmax_topk", [](auto& c) { c.norm_min = -1; }, "norm_min"},
      {"softmax_topk", [](auto& c) { c.norm_min = kNan; }, "norm_min"},
      {"sigmoid_bias", [](auto& c) { c.norm_power = 2; }, "norm_power"},
      {"sigmoid_bias", [](auto& c) { c.norm_min = 0.1; }, "norm_min"},
      {"softmax_topk", [](auto& c) { c.group_fill_zero = true; }, "group_fill_zero"},
      {"softmax_topk", [](auto& c) { c.mixer_epsilon = 0.5; }, "mixer_epsilon"},
      {"sparsemixer", [](auto& c) { c.mixer_epsilon = -1; }, "mixer_epsilon"},
      {"sparsemixer", [](auto& c) { c.mixer_epsilon = kNan; }, "mixer_epsilon"},
      {"sparsemixer", [](auto& c) { c.k = 1; }, "k = 1"},
      {"sparsemixer", [](auto& c) { c.renormalize = true; }, "renormalize"},
      {"nonsense", [](auto&) {}, "nonsense"},
  };
  for (const Bad& bad : table) {
    RouterConfig config;
    config.kind = bad.kind;
    if (config.kind != "nonsense") config = default_router_config(bad.kind);
    config.n_experts = 8;
    config.k = config.kind == "switch_top1" ? 1 : 2;
    const std::string message = refusal_of(config, bad.change);
    EXPECT_NE(message.find(bad.names), std::string::npos)
        << bad.kind << ": '" << message << "' lacks '" << bad.names << "'";
  }
}

// The weight of one renormalised expert is a constant: it runs, but the task cannot teach it.
TEST(RouterConfig, RenormalisedTop1RunsButIsRefusedForTraining) {
  for (const char* kind : {"softmax_topk", "sigmoid_bias", "noisy_topk"}) {
    EXPECT_EQ(refusal([&] { validate_router_config(make(kind, 8, 1)); }), "");
    const std::string message = refusal([&] { check_trainable(make(kind, 8, 1)); });
    EXPECT_NE(message.find("no gradient"), std::string::npos) << message;
    EXPECT_EQ(refusal([&] { check_trainable(make(kind, 8, 2)); }), "");
  }
  RouterConfig raw = make("softmax_topk", 8, 1);
  raw.renormalize = false;
  EXPECT_EQ(refusal([&] { check_trainable(raw); }), "");
  EXPECT_EQ(refusal([&] { check_trainable(make("hash", 8, 1)); }), "");
  EXPECT_EQ(refusal([&] { check_trainable(make("switch_top1", 8, 1)); }), "");
}

TEST(RouterConfig, NonCausalRoutersAreRefusedWithTheReason) {
  for (const RouterTraits& traits : router_list()) {
    const std::string message = refusal([&] { check_causal(make(traits.name, 8, 2)); });
    EXPECT_EQ(message.empty(), traits.causal) << traits.name;
    EXPECT_EQ(message.find("later tokens") == std::string::npos, traits.causal) << message;
  }
  EXPECT_FALSE(router_traits("expert_choice").causal);
}

TEST(RouterConfig, BatchesBeyondInt32SlotsAreRefused) {
  ops::Context context(1);
  const std::vector<std::int32_t> none;
  RouterInput input;
  RoutingDecision decision;
  for (const int n_tokens : {-1, std::numeric_limits<std::int32_t>::max()}) {
    input.n_tokens = n_tokens;
    const std::string message =
        refusal([&] { router_forward(context, make("softmax_topk", 8, 2), input, decision); });
    EXPECT_NE(message.find("tokens"), std::string::npos);
  }
}

TEST(RouterConfig, ABiasThatWouldBeIgnoredIsRefused) {
  ops::Context context(1);
  const std::vector<float> logits(8, 0.0f);
  RouterInput input;
  input.n_tokens = 1;
  input.logits_TE = logits.data();
  input.expert_bias_E = logits.data();
  RoutingDecision decision;
  for (const RouterTraits& traits : router_list()) {
    if (!traits.needs_logits) continue;
    const int k = traits.name == "switch_top1" ? 1 : 2;
    const std::string message =
        refusal([&] { router_forward(context, make(traits.name, 8, k), input, decision); });
    EXPECT_EQ(message.empty(), traits.supports_bias) << traits.name << ": " << message;
  }
}

TEST(RouterConfig, NegativeTokenIdsAreRefused) {
  ops::Context context(1);
  const std::vector<std::int32_t> ids = {3, -1};
  RouterInput input;
  input.n_tokens = 2;
  input.ids_T = ids;
  RoutingDecision decision;
  const std::string message =
      refusal([&] { router_forward(context, make("hash", 8, 2), input, decision); });
  EXPECT_NE(message.find("token id -1 at token 1"), std::string::npos) << message;
}

TEST(RouterConfig, NamesOfEnumsRoundTrip) {
  for (const GroupScore score : {GroupScore::kTop2Sum, GroupScore::kMax}) {
    EXPECT_EQ(parse_group_score(group_score_name(score)), score);
  }
  for (const CapacityOrder order : {CapacityOrder::kPosition, CapacityOrder::kProbability}) {
    EXPECT_EQ(parse_capacity_order(capacity_order_name(order)), order);
  }
  EXPECT_NE(refusal([] { parse_group_score("mean"); }), "");
  EXPECT_NE(refusal([] { parse_capacity_order(""); }), "");
}

TEST(RouterConfig, TheTableInTheDocumentationIsCurrent) {
  std::ifstream file(CONCLAVE_SOURCE_DIR "/docs/adding_a_router.md");
  ASSERT_TRUE(file) << "docs/adding_a_router.md is missing";
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_NE(text.str().find(router_table_markdown()), std::string::npos)
      << "put this table into docs/adding_a_router.md:\n"
      << router_table_markdown();
}

}  // namespace
}  // namespace conclave::moe
