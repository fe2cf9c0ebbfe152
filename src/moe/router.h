// Routers: from logits (or token ids) to a RoutingDecision, and back to the logits' gradient.
//
// A router is stateless. The linear map from x to logits is done outside, in f32; so is the input
// jitter (moe/jitter.h). Which routers exist, with citation, equation and needs: moe/routers/, one
// file each; docs/adding_a_router.md says how to add one.
//
// Same bits: the decision of a token is a function of its own logits, the bias and the noise
// stream alone (causal routers without a capacity), whatever the batch and the threads.
// Ties go to the lowest expert index.
//
// Shape letters: T tokens, E experts, K experts per token (slots).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "moe/routing.h"
#include "ops/context.h"

namespace conclave::moe {

// How a group of experts is scored when selection is limited to the best groups.
enum class GroupScore { kTop2Sum, kMax };  // DeepSeek-V3, DeepSeek-V2
// Who stays when an expert is over capacity: see moe/capacity.h.
enum class CapacityOrder { kPosition, kProbability };

const char* group_score_name(GroupScore score);        // "top2_sum", "max"
const char* capacity_order_name(CapacityOrder order);  // "position", "probability"
GroupScore parse_group_score(std::string_view name);   // Error(kInvalidArgument)
CapacityOrder parse_capacity_order(std::string_view name);

inline constexpr int kMaxExperts = 65536;

// Start from default_router_config(kind) and override: defaults differ between routers. A field
// that a router does not use must keep its default; validate_router_config says so otherwise.
struct RouterConfig {
  std::string kind = "softmax_topk";
  int n_experts = 0;        // E
  int k = 0;                // K; expert choice: experts per token on average
  bool renormalize = true;  // weights of a token sum to `scale`
  double norm_power = 1;    // softmax_topk: it is this p-norm of the weights that is `scale` (DBRX)
  double norm_min = 0;      // softmax_topk: ... unless it is less than this before (ERNIE 4.5)
  double scale = 1;         // multiplies the weights, > 0
  int n_groups = 1;         // groups of E / n_groups consecutive experts
  int topk_groups = 1;      // groups that a token may choose from
  GroupScore group_score = GroupScore::kTop2Sum;
  // sigmoid_bias: experts of other groups get score 0 instead of never being chosen: they win over
  // negative scores, and where the groups hold fewer than k (the reference code of DeepSeek-V3).
  bool group_fill_zero = false;
  double capacity_factor = 0;  // 0: dropless. Applied in training only
  CapacityOrder capacity_order = CapacityOrder::kPosition;
  double jitter = 0;            // router input *= U(1 - jitter, 1 + jitter)
  double noise_floor = 1e-2;    // noisy_topk: sigma = softplus(.) + noise_floor
  std::uint64_t hash_seed = 0;  // hash: which table
  // sparsemixer: a logit z counts where (max - z) / max(|z|, max) <= 2 mixer_epsilon.
  double mixer_epsilon = 0.01;
};

// What a router is and what the layer around it must provide.
struct RouterTraits {
  std::string_view name;
  std::string_view citation;        // paper and equation or section
  std::string_view equation;        // one line
  std::string_view use_when;        // one line
  bool needs_logits = true;         // logits_TE
  bool needs_noise_logits = false;  // noise_logits_TE, in training
  bool needs_ids = false;           // ids_T
  bool causal = true;               // a token's decision never depends on later tokens
  bool supports_bias = false;       // expert_bias_E
  bool supports_groups = false;
  bool supports_capacity = true;
};

// What one forward pass reads; borrowed.
template <class Real>
struct RouterInputOf {
  int n_tokens = 0;
  const Real* logits_TE = nullptr;        // where traits say so
  const Real* noise_logits_TE = nullptr;  // noisy_topk in training, else null
  const Real* expert_bias_E = nullptr;    // added for selection only; may be null
  std::span<const std::int32_t> ids_T;    // token ids, where traits say so
  bool training = false;                  // noise and capacity apply
  // The noise of token t and expert e is a function of (rng, first_token + t, e) alone.
  Rng rng{0};
  std::uint64_t first_token = 0;
};
using RouterInput = RouterInputOf<float>;

// All registered routers, in the order of the registry.
std::vector<RouterTraits> router_list();
// Error(kInvalidArgument) for an unknown name: lists the known ones and the nearest.
const RouterTraits& router_traits(std::string_view kind);

// The router's defaults, with n_experts and k still to be set (k = 1 is set for top-1 routers).
RouterConfig default_router_config(std::string_view kind);
// Error(kInvalidArgument) naming the field, what was found and what is allowed.
void validate_router_config(const RouterConfig& config);
// The same, and Error(kInvalidArgument) for what runs but cannot be trained: a router that gets no
// gradient from the task.
void check_trainable(const RouterConfig& config);
// Error(kInvalidArgument) where the router looks at later tokens: a causal model cannot use it.
void check_causal(const RouterConfig& config);

// "softmax_topk: 8 experts, 2 per token, renormalised, ..." for people.
std::string describe_router(const RouterConfig& config);
// The routers with citation, needs and use, as a Markdown table.
std::string router_table_markdown();

// Slots per token in the decision: k, or E for expert choice.
int router_slots(const RouterConfig& config);

// Makes the decision; `decision`'s memory is reused. T = 0 is fine. Validates the configuration and
// sizes: Error(kInvalidArgument). Non-finite logits are no error here: see nonfinite_token.
template <class Real>
void router_forward(ops::Context& context, const RouterConfig& config,
                    const RouterInputOf<Real>& input, RoutingDecisionOf<Real>& decision);

template <class Real>
RoutingDecisionOf<Real> router_forward(ops::Context& context, const RouterConfig& config,
                                       const RouterInputOf<Real>& input) {
  RoutingDecisionOf<Real> decision;
  router_forward(context, config, input, decision);
  return decision;
}

// What one backward pass reads and writes; borrowed. Order of a training step: unpermute_backward
// assigns d_topk_weights_TK; losses on weights and scores add to it and to d_scores_TE;
// router_backward assigns d_logits_TE and d_noise_logits_TE; losses on logits add to those.
template <class Real>
struct RouterGradientsOf {
  const Real* d_topk_weights_TK = nullptr;  // slots = decision.k; unused slots are not read
  const Real* d_scores_TE = nullptr;        // may be null
  Real* d_logits_TE = nullptr;              // assigned; null where the router has no logits
  Real* d_noise_logits_TE = nullptr;        // assigned; null where there are none
};
using RouterGradients = RouterGradientsOf<float>;

// The same config and input as in router_forward; the selection is held fixed.
template <class Real>
void router_backward(ops::Context& context, const RouterConfig& config,
                     const RouterInputOf<Real>& input, const RoutingDecisionOf<Real>& decision,
                     const RouterGradientsOf<Real>& gradients);

}  // namespace conclave::moe
