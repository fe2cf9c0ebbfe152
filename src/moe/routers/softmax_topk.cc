// softmax_topk: softmax over all experts, the k best, weights renormalised or not.
//
// Jiang et al. 2024, "Mixtral of Experts", section 2.1 (renormalised: softmax over the top k
// logits); Muennighoff et al. 2024, "OLMoE", section 2 (not renormalised). Selection by p + bias is
// ERNIE 4.5's; selection within the best groups by their maximum is DeepSeek-V2's (2024, section
// 2.2.2).
//
//   p = softmax(z),  S = the k best of p + bias
//   w_e = scale * p_e / sum_{j in S} p_j   or   scale * p_e   for e in S
//
// DBRX divides by another norm of the selected p than their sum, and ERNIE 4.5 by no less than a
// minimum: w_e = scale * p_e / N, N = max((sum_{j in S} p_j^q)^(1/q), norm_min).
//
// Gradients, with g_e = dL/dw_e: renormalised, dz_j = w_j (g_j - <w, g>/scale) for j in S and 0
// outside; otherwise all logits get p_j (scale * g_j [j in S] - scale * sum_S p_e g_e); with N,
// dp_j = (scale / N) (g_j - (p_j / N)^(q-1) sum_S (p_e / N) g_e), without the sum where N =
// norm_min.
//
// Shape letters: T tokens, E experts, K experts per token.
#include <cmath>
#include <limits>

#include "kernels/softmax/softmax.h"
#include "moe/routers/select.h"
#include "moe/routers/spec.h"
#include "moe/routers/weights.h"
#include "moe/rows.h"

namespace conclave::moe {
namespace {

bool has_norm(const RouterConfig& config) { return config.norm_power != 1 || config.norm_min > 0; }

// N of the selected p. The largest is taken out of the sum: its powers neither vanish nor overflow.
template <class Real>
Real selected_norm(const RouterConfig& config, const Real* p_E, const std::int32_t* ids_K, int k,
                   bool* at_minimum) {
  const Real q = static_cast<Real>(config.norm_power);
  Real top = 0;
  for (int i = 0; i < k; ++i) top = std::max(top, p_E[ids_K[i]]);
  Real sum = 0;
  for (int i = 0; i < k && top > 0; ++i) {
    const Real ratio = p_E[ids_K[i]] / top;
    sum += q == 1 ? ratio : std::pow(ratio, q);
  }
  const Real norm = q == 1 ? top * sum : top * std::pow(sum, 1 / q);
  // Nothing to divide by where every selected p has underflowed and no minimum is set.
  const Real least = std::max(static_cast<Real>(config.norm_min), std::numeric_limits<Real>::min());
  *at_minimum = norm < least;
  return *at_minimum ? least : norm;
}

// dp[ids_K[j]] += dL/dp_j of w = scale * p / N.
template <class Real>
void selected_norm_backward(const RouterConfig& config, const Real* p_E, const std::int32_t* ids_K,
                            const Real* dw_K, int k, Real* dp_E) {
  bool at_minimum = false;
  const Real norm = selected_norm(config, p_E, ids_K, k, &at_minimum);
  const Real q = static_cast<Real>(config.norm_power);
  Real dot = 0;
  for (int i = 0; i < k && !at_minimum; ++i) dot += p_E[ids_K[i]] / norm * dw_K[i];
  const Real factor = static_cast<Real>(config.scale) / norm;
  for (int i = 0; i < k; ++i) {
    const Real slope = at_minimum ? Real(0) : std::pow(p_E[ids_K[i]] / norm, q - 1);
    // A power below 1 has no slope at 0; nothing flows to an expert of probability 0.
    dp_E[ids_K[i]] += factor * (dw_K[i] - (std::isfinite(slope) ? slope * dot : Real(0)));
  }
}

template <class Real>
void forward(ops::Context& context, const RouterConfig& config, const RouterInputOf<Real>& input,
             RoutingDecisionOf<Real>& decision) {
  const int n = config.n_experts;
  const int k = config.k;
  const Real scale = static_cast<Real>(config.scale);
  const Real* const bias_E = input.expert_bias_E;
  const bool plain = bias_E == nullptr && config.topk_groups == config.n_groups;
  const auto body = [&](std::int32_t t, Real* memory) {
    const Real* const z_E = input.logits_TE + std::int64_t{t} * n;
    Real* const p_E = decision.scores_TE.data() + std::int64_t{t} * n;
    std::int32_t* const ids_K = decision.topk_ids_TK.data() + std::int64_t{t} * k;
    Real* const w_K = decision.topk_weights_TK.data() + std::int64_t{t} * k;
    bool finite = row_is_finite(z_E, n);
    if (finite) kernels::softmax(z_E, n, p_E);
    if (plain) {
      kernels::top_k(z_E, n, k, ids_K);
    } else {
      const SelectionScratch<Real> scratch(config, memory);
      const Real* const base_E = finite ? p_E : z_E;
      for (int e = 0; e < n; ++e) {
        scratch.keys_E[e] = base_E[e] + (bias_E == nullptr ? Real(0) : bias_E[e]);
      }
      finite = finite && row_is_finite(scratch.keys_E, n);
      limit_to_groups(config, scratch);
      kernels::top_k(scratch.keys_E, n, k, ids_K);
    }
    if (!finite) {
      poison(p_E, n);
      poison(w_K, k);
    } else if (has_norm(config)) {
      bool at_minimum = false;
      const Real factor = scale / selected_norm(config, p_E, ids_K, k, &at_minimum);
      for (int i = 0; i < k; ++i) w_K[i] = factor * p_E[ids_K[i]];
    } else if (config.renormalize) {
      selected_softmax(z_E, ids_K, k, scale, w_K);
    } else {
      for (int i = 0; i < k; ++i) w_K[i] = scale * p_E[ids_K[i]];
    }
    return finite;
  };
  decision.nonfinite_token =
      for_each_token<Real>(context, input.n_tokens, SelectionScratch<Real>::count(config), body);
}

template <class Real>
void backward(ops::Context& context, const RouterConfig& config, const RouterInputOf<Real>&,
              const RoutingDecisionOf<Real>& decision, const RouterGradientsOf<Real>& gradients) {
  const int n = config.n_experts;
  const int k = config.k;
  const Real scale = static_cast<Real>(config.scale);
  const auto body = [&](std::int32_t t, Real* dp_E) {
    const Real* const p_E = decision.scores_TE.data() + std::int64_t{t} * n;
    const std::int32_t* const ids_K = decision.topk_ids_TK.data() + std::int64_t{t} * k;
    const Real* const dw_K = gradients.d_topk_weights_TK + std::int64_t{t} * k;
    const Real* const d_scores_E =
        gradients.d_scores_TE == nullptr ? nullptr : gradients.d_scores_TE + std::int64_t{t} * n;
    Real* const dz_E = gradients.d_logits_TE + std::int64_t{t} * n;
    std::fill_n(dz_E, n, Real(0));
    if (config.renormalize && !has_norm(config)) {
      const Real* const w_K = decision.topk_weights_TK.data() + std::int64_t{t} * k;
      if (d_scores_E != nullptr) softmax_row_backward(p_E, d_scores_E, n, dz_E);
      selected_softmax_backward(w_K, dw_K, ids_K, k, scale, dz_E);
      return true;
    }
    for (int e = 0; e < n; ++e) dp_E[e] = d_scores_E == nullptr ? Real(0) : d_scores_E[e];
    if (has_norm(config)) {
      selected_norm_backward(config, p_E, ids_K, dw_K, k, dp_E);
    } else {
      for (int i = 0; i < k; ++i) dp_E[ids_K[i]] += scale * dw_K[i];
    }
    softmax_row_backward(p_E, dp_E, n, dz_E);
    return true;
  };
  for_each_token<Real>(context, decision.n_tokens, n, body);
}

}  // namespace

extern const RouterSpec softmax_topk_router;
constinit const RouterSpec softmax_topk_router = {
    .traits =
        {.name = "softmax_topk",
         .citation = "Jiang et al. 2024 (Mixtral), sec. 2.1; Muennighoff et al. 2024 (OLMoE)",
         .equation = "w = softmax over the k best logits, or p_e = softmax(z)_e unchanged",
         .use_when =
             "The default. Mixtral, Qwen, OLMoE, gpt-oss, Granite, DeepSeek-V2, DBRX, ERNIE 4.5",
         .supports_bias = true,
         .supports_groups = true},
    .set_defaults = [](RouterConfig& config) { config.group_score = GroupScore::kMax; },
    .validate = nullptr,
    .slots = nullptr,
    .f32 = {forward<float>, backward<float>},
    .f64 = {forward<double>, backward<double>}};

}  // namespace conclave::moe
