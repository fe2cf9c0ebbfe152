// Test cases of every router, made from the registry alone: a router that is listed is tested.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/rng.h"
#include "moe/router.h"

namespace conclave::moe::testing {

// Names of all registered routers, or of those with a trait.
inline std::vector<std::string> router_names(bool RouterTraits::*trait = nullptr) {
  std::vector<std::string> names;
  for (const RouterTraits& traits : router_list()) {
    if (trait == nullptr || traits.*trait) names.emplace_back(traits.name);
  }
  return names;
}

// Names the instance of a parameterised test.
inline constexpr auto param_name = [](const auto& test) { return std::string(test.param); };

struct RouterCase {
  RouterConfig config;
  bool bias = false;
  bool training = false;
  std::string name() const {
    return describe_router(config) + (bias ? " +bias" : "") + (training ? " training" : "");
  }
};

inline bool passes(void (*check)(const RouterConfig&), const RouterConfig& config) {
  try {
    check(config);
  } catch (const Error&) {
    return false;
  }
  return true;
}
inline bool is_valid(const RouterConfig& config) { return passes(validate_router_config, config); }
// False for a router whose weights are constant.
inline bool is_trainable(const RouterConfig& config) { return passes(check_trainable, config); }

// The same sizes with the options that only some routers have.
inline std::vector<RouterConfig> with_own_options(const RouterConfig& config) {
  std::vector<RouterConfig> variants = {config};
  const auto add = [&](const auto& change) {
    RouterConfig variant = config;
    change(variant);
    if (is_valid(variant)) variants.push_back(variant);
  };
  if (config.kind == "sparsemixer") variants[0].mixer_epsilon = 0.4;  // rivals in most rounds
  if (config.kind == "softmax_topk" && config.renormalize) {
    add([](RouterConfig& c) { c.norm_power = 2; });
    add([](RouterConfig& c) { c.norm_power = 0.5; });
    if (config.k > 1) add([](RouterConfig& c) { c.norm_min = 0.6; });
    if (config.k > 1) add([](RouterConfig& c) { c.norm_power = 3, c.norm_min = 0.3; });
  }
  if (config.topk_groups < config.n_groups) add([](RouterConfig& c) { c.group_fill_zero = true; });
  return variants;
}

// Sizes x renormalize x scale x groups x own options x bias x training, as far as the router
// allows.
inline std::vector<RouterCase> router_cases(const RouterTraits& traits) {
  struct Size {
    int n_experts, k, n_groups, topk_groups;
  };
  const Size sizes[] = {{1, 1, 1, 1},  {4, 1, 1, 1}, {7, 2, 1, 1},
                        {16, 3, 4, 2}, {8, 8, 1, 1}, {40, 20, 1, 1}};
  std::vector<RouterCase> cases;
  for (const Size& size : sizes) {
    for (const bool renormalize : {false, true}) {
      for (const double scale : {1.0, 2.5}) {
        for (const GroupScore group_score : {GroupScore::kMax, GroupScore::kTop2Sum}) {
          RouterConfig config = default_router_config(traits.name);
          if (size.n_groups == 1 && group_score == GroupScore::kMax) continue;
          config.n_experts = size.n_experts;
          config.k = size.k;
          config.n_groups = size.n_groups;
          config.topk_groups = size.topk_groups;
          config.group_score = group_score;
          config.renormalize = renormalize;
          config.scale = scale;
          config.capacity_factor = 0;
          if (!is_valid(config)) {  // the same size without groups, for routers that have none
            config.n_groups = config.topk_groups = 1;
            if (!is_valid(config)) continue;
          }
          for (const RouterConfig& variant : with_own_options(config)) {
            for (const bool bias : {false, true}) {
              for (const bool training : {false, true}) {
                if (bias && !traits.supports_bias) continue;
                cases.push_back({variant, bias, training});
              }
            }
          }
        }
      }
    }
  }
  return cases;
}

// Everything a forward pass of one case reads.
template <class Real>
struct RouterData {
  std::vector<Real> logits_TE, noise_logits_TE, bias_E;
  std::vector<std::int32_t> ids_T;
  RouterInputOf<Real> input;

  RouterData(const RouterCase& test, int n_tokens, std::uint64_t seed) {
    const Rng rng(seed);
    const auto n = static_cast<std::size_t>(test.config.n_experts);
    const auto count = static_cast<std::size_t>(n_tokens) * n;
    logits_TE.resize(count);
    noise_logits_TE.resize(count);
    bias_E.resize(n);
    for (std::size_t i = 0; i < count; ++i) {
      logits_TE[i] = static_cast<Real>(1.5 * rng.normal(i));
      noise_logits_TE[i] = static_cast<Real>(rng.fork(1).normal(i));
    }
    for (std::size_t e = 0; e < n; ++e) {
      bias_E[e] = static_cast<Real>(0.3 * rng.fork(2).normal(e));
    }
    for (int t = 0; t < n_tokens; ++t) {
      ids_T.push_back(
          static_cast<std::int32_t>(rng.fork(3).below(static_cast<std::uint64_t>(t), 50000)));
    }
    input = full_input(test, n_tokens);
  }
  RouterData(const RouterData&) = delete;

  // Tokens [begin, begin + count) as a batch of their own.
  RouterInputOf<Real> slice(const RouterCase& test, int begin, int count) const {
    RouterInputOf<Real> part = full_input(test, count);
    const std::int64_t offset = std::int64_t{begin} * test.config.n_experts;
    if (part.logits_TE != nullptr) part.logits_TE += offset;
    if (part.noise_logits_TE != nullptr) part.noise_logits_TE += offset;
    if (!part.ids_T.empty()) {
      part.ids_T = std::span(ids_T).subspan(static_cast<std::size_t>(begin),
                                            static_cast<std::size_t>(count));
    }
    part.first_token += static_cast<std::uint64_t>(begin);
    return part;
  }

 private:
  RouterInputOf<Real> full_input(const RouterCase& test, int n_tokens) const {
    const RouterTraits& traits = router_traits(test.config.kind);
    RouterInputOf<Real> full;
    full.n_tokens = n_tokens;
    full.training = test.training;
    full.rng = Rng(11, 5);
    full.first_token = 1000;
    if (traits.needs_logits) full.logits_TE = logits_TE.data();
    if (traits.needs_noise_logits && test.training) full.noise_logits_TE = noise_logits_TE.data();
    if (test.bias) full.expert_bias_E = bias_E.data();
    if (traits.needs_ids) full.ids_T = ids_T;
    return full;
  }
};

}  // namespace conclave::moe::testing
