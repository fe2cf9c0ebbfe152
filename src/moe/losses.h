// Balance losses: functions of the decision. Each returns its raw value (without the coefficient)
// and adds coefficient * gradient (+=) where a gradient pointer is given; null computes the value
// alone. Means and counts are over the tokens of the batch, as the router wanted them (before any
// capacity). Sums run in token order on one thread; T = 0 gives 0 and no gradient.
// A decision that has no scores (hash), or that is balanced by construction (expert choice), gives
// 0 and no gradient in all of them but the z-loss. Non-finite scores give a non-finite value.
//
// Shape letters: T tokens, E experts, K experts per token, S sequences.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "moe/router.h"
#include "moe/routing.h"
#include "ops/context.h"

namespace conclave::moe {

// Tokens that chose each expert, dropped or not.
template <class Real>
std::vector<std::int64_t> count_choices(const RoutingDecisionOf<Real>& decision);

// E * sum_e f_e P_e (Fedus et al. 2021, eq. 4-6), with f_e = count_e / T and P_e = mean score.
// For K > 1, sum_e f_e = K as in Hugging Face's load_balancing_loss_func: the perfectly balanced
// value is K, and full collapse onto K experts of certain scores gives E. With `divide_by_k`
// (Megatron, MegaBlocks) everything is 1/K of that: balanced value 1.
struct LoadBalanceOptions {
  double coefficient = 1;
  bool divide_by_k = false;
  // f_e from elsewhere, e.g. summed over micro-batches or layers (global-batch balance, Qiu et al.
  // 2025): counts_E / counted_tokens instead of this decision's own. Empty: its own.
  std::span<const std::int64_t> counts_E = {};
  std::int64_t counted_tokens = 0;
};
template <class Real>
double load_balance_loss(const RoutingDecisionOf<Real>& decision, const LoadBalanceOptions& options,
                         Real* d_scores_TE);

// DeepSeek-V3 (2024), eq. 17-20: the same per sequence with f_e = E / (K T_s) count_e, averaged
// over sequences; balanced value 1. offsets_S1: first token of each sequence, then T; empty
// sequences count for nothing.
template <class Real>
double sequence_balance_loss(const RoutingDecisionOf<Real>& decision,
                             std::span<const std::int32_t> offsets_S1, double coefficient,
                             Real* d_scores_TE);

// mean_t logsumexp(logits_t)^2 (Zoph et al. 2022, ST-MoE, eq. 5).
template <class Real>
double z_loss(ops::Context& context, const RoutingDecisionOf<Real>& decision, double coefficient,
              Real* d_logits_TE);

// CV^2 of the summed weights of each expert, population variance (Shazeer et al. 2017, eq. 6-7).
template <class Real>
double importance_loss(const RoutingDecisionOf<Real>& decision, double coefficient,
                       Real* d_topk_weights_TK);

// CV^2 of the smooth load of noisy top-k (Shazeer et al. 2017, eq. 8-11):
// Load_e = sum_t Phi((z_te - threshold_te) / sigma_te). 0 without noise, and where K = E.
// `config` and `input` are those of router_forward.
template <class Real>
double noisy_load_loss(ops::Context& context, const RouterConfig& config,
                       const RouterInputOf<Real>& input, const RoutingDecisionOf<Real>& decision,
                       double coefficient, Real* d_logits_TE, Real* d_noise_logits_TE);

// Balance without a loss (Wang et al. 2024, algorithm 1): bias_e += rate * sign(mean - count_e),
// after an optimiser step, from the counts of the whole step. `centre` takes the mean of the
// change out, so that the biases do not drift together. The bias is a part of the checkpoint.
void loss_free_bias_update(std::span<float> expert_bias_E, std::span<const std::int64_t> counts_E,
                           double rate, bool centre);

}  // namespace conclave::moe
