// sigmoid_bias: sigmoid scores, selected with a bias that balances without a loss.
//
// DeepSeek-AI 2024, "DeepSeek-V3 Technical Report", section 2.1.2, eq. 13-16 (scores, weights and
// node-limited routing); Wang et al. 2024, "Auxiliary-Loss-Free Load Balancing" (the bias, updated
// by loss_free_bias_update in moe/losses.h).
//
//   s = sigmoid(z),  S = the k best of s + bias within the best topk_groups groups
//   (a group's score is the sum of its two best s + bias)
//   w_e = scale * s_e / (sum_{j in S} s_j + 1e-20)   or   scale * s_e
//
// The bias never enters a weight and gets no gradient. Scores for balance losses are s / sum(s).
// Gradient, with D the divisor and w' = s / D: ds_j = (scale / D) (g_j - sum_S w'_e g_e), then
// dz = s (1 - s) ds, for j in S.
// Experts outside the kept groups cannot be chosen, as in DeepSeek's own code; with group_fill_zero
// they get score 0 instead, as in Hugging Face's, which differs where biased scores are negative or
// the groups hold fewer than k experts. Without bias and groups the selection is by logits: the
// same order, but large logits, whose sigmoids round to equal numbers, do not tie (Llama 4's
// router).
//
// Shape letters: T tokens, E experts, K experts per token.
#include "moe/routers/select.h"
#include "moe/routers/spec.h"
#include "moe/rows.h"

namespace conclave::moe {
namespace {

constexpr double kTiny = 1e-20;  // of the published code: all scores may underflow to 0

template <class Real>
void forward(ops::Context& context, const RouterConfig& config, const RouterInputOf<Real>& input,
             RoutingDecisionOf<Real>& decision) {
  const int n = config.n_experts;
  const int k = config.k;
  const Real* const bias_E = input.expert_bias_E;
  const bool plain = bias_E == nullptr && config.topk_groups == config.n_groups;
  const auto body = [&](std::int32_t t, Real* memory) {
    const SelectionScratch<Real> scratch(config, memory);
    const Real* const z_E = input.logits_TE + std::int64_t{t} * n;
    Real* const p_E = decision.scores_TE.data() + std::int64_t{t} * n;
    std::int32_t* const ids_K = decision.topk_ids_TK.data() + std::int64_t{t} * k;
    Real* const w_K = decision.topk_weights_TK.data() + std::int64_t{t} * k;
    Real sum = static_cast<Real>(kTiny);
    for (int e = 0; e < n; ++e) {
      const Real s = sigmoid(z_E[e]);
      p_E[e] = s;
      sum += s;
      scratch.keys_E[e] = s + (bias_E == nullptr ? Real(0) : bias_E[e]);
    }
    const bool finite = row_is_finite(z_E, n) && row_is_finite(scratch.keys_E, n);
    limit_to_groups(config, scratch);
    kernels::top_k(plain ? z_E : scratch.keys_E, n, k, ids_K);
    if (!finite) {
      poison(p_E, n);
      poison(w_K, k);
      return false;
    }
    Real divisor = static_cast<Real>(kTiny);
    for (int i = 0; i < k; ++i) {
      w_K[i] = p_E[ids_K[i]];
      divisor += w_K[i];
    }
    const Real factor = static_cast<Real>(config.scale) / (config.renormalize ? divisor : Real(1));
    for (int i = 0; i < k; ++i) w_K[i] *= factor;
    const Real inverse = 1 / sum;
    for (int e = 0; e < n; ++e) p_E[e] *= inverse;
    return true;
  };
  decision.nonfinite_token =
      for_each_token<Real>(context, input.n_tokens, SelectionScratch<Real>::count(config), body);
}

// d_logits of the scores q = s / (sum(s) + tiny): ds_e = (dq_e - <q, dq>) / (sum(s) + tiny).
template <class Real>
void add_scores_gradient(const Real* z_E, const Real* q_E, const Real* dq_E, int n, Real* slope_E,
                         Real* dz_E) {
  Real sum = static_cast<Real>(kTiny);
  Real dot = 0;
  for (int e = 0; e < n; ++e) {
    Real s;
    sigmoid_and_slope(z_E[e], &s, &slope_E[e]);
    sum += s;
    dot += q_E[e] * dq_E[e];
  }
  const Real inverse = 1 / sum;
  for (int e = 0; e < n; ++e) dz_E[e] += (dq_E[e] - dot) * inverse * slope_E[e];
}

template <class Real>
void backward(ops::Context& context, const RouterConfig& config, const RouterInputOf<Real>&,
              const RoutingDecisionOf<Real>& decision, const RouterGradientsOf<Real>& gradients) {
  const int n = config.n_experts;
  const int k = config.k;
  const Real scale = static_cast<Real>(config.scale);
  const auto body = [&](std::int32_t t, Real* memory) {
    const std::int64_t row = std::int64_t{t} * n;
    const Real* const z_E = decision.logits_TE.data() + row;
    const std::int32_t* const ids_K = decision.topk_ids_TK.data() + std::int64_t{t} * k;
    const Real* const w_K = decision.topk_weights_TK.data() + std::int64_t{t} * k;
    const Real* const dw_K = gradients.d_topk_weights_TK + std::int64_t{t} * k;
    Real* const dz_E = gradients.d_logits_TE + row;
    std::fill_n(dz_E, n, Real(0));
    if (gradients.d_scores_TE != nullptr) {
      add_scores_gradient(z_E, decision.scores_TE.data() + row, gradients.d_scores_TE + row, n,
                          memory, dz_E);
    }
    Real divisor = 1;
    Real dot = 0;
    if (config.renormalize) {
      divisor = static_cast<Real>(kTiny);
      for (int i = 0; i < k; ++i) {
        divisor += sigmoid(z_E[ids_K[i]]);
        dot += w_K[i] / scale * dw_K[i];
      }
    }
    for (int i = 0; i < k; ++i) {
      Real s;
      Real slope;
      sigmoid_and_slope(z_E[ids_K[i]], &s, &slope);
      dz_E[ids_K[i]] += scale / divisor * (dw_K[i] - dot) * slope;
    }
    return true;
  };
  for_each_token<Real>(context, decision.n_tokens, n, body);
}

}  // namespace

extern const RouterSpec sigmoid_bias_router;
constinit const RouterSpec sigmoid_bias_router = {
    .traits = {.name = "sigmoid_bias",
               .citation = "DeepSeek-AI 2024 (DeepSeek-V3), eq. 13-16; Wang et al. 2024",
               .equation = "S = k best of sigmoid(z) + bias, w = s_e / sum_S s",
               .use_when =
                   "Many experts, balance without a loss. DeepSeek-V3, Kimi-K2, GLM-4.5, Llama 4",
               .supports_bias = true,
               .supports_groups = true},
    .set_defaults = nullptr,
    .validate = nullptr,
    .slots = nullptr,
    .f32 = {forward<float>, backward<float>},
    .f64 = {forward<double>, backward<double>}};

}  // namespace conclave::moe
