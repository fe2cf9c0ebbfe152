// sparsemixer: two experts in two rounds, each weighted by a softmax over its close rivals.
//
// Liu et al. 2024, "GRIN: GRadient-INformed MoE", section 2.2, in the deterministic form in which
// Phi-3.5-MoE answers. With threshold e = mixer_epsilon and for a maximum m, the rivals of m are
//   R(m) = { j : (m - z_j) / max(|z_j|, m) <= 2 e }
// First expert:  e1 = argmax z,           w1 = scale * softmax(z over R(z_e1))_e1
// Second expert: e2 = argmax z, not e1,   w2 = scale * softmax(z over R(z_e2) without e1)_e2
// The weights are not renormalised: far from ties each is `scale`.
//
// Gradient of either round, with pi its softmax and w its weight, over its rivals held fixed:
// dz_j = g w ([j is chosen] - pi_j). Training uses the same forward pass and this exact gradient,
// not the paper's sampled estimator: a decision is a function of the logits alone.
//
// Shape letters: T tokens, E experts, K = 2 experts per token.
#include <cmath>

#include "base/error.h"
#include "kernels/softmax/softmax.h"
#include "kernels/top_k/top_k.h"
#include "moe/routers/spec.h"
#include "moe/rows.h"

namespace conclave::moe {
namespace {

void validate(const RouterConfig& config) {
  if (config.k != 2) {
    fail(ErrorKind::kInvalidArgument, "router 'sparsemixer': k = {}: expected 2: it has two rounds",
         config.k);
  }
  if (config.renormalize) {
    fail(ErrorKind::kInvalidArgument,
         "router 'sparsemixer': renormalize = true: expected false: each round has a weight of its "
         "own");
  }
}

// pi_E of one round: the softmax over the rivals of `chosen`, 0 elsewhere and for `without`.
// Returns the chosen expert's.
template <class Real>
Real round_softmax(const Real* z_E, int n, std::int32_t chosen, std::int32_t without, Real epsilon,
                   Real* pi_E) {
  const Real top = z_E[chosen];
  Real sum = 0;
  for (std::int32_t e = 0; e < n; ++e) {
    const Real z = z_E[e];
    // 0 / 0, where all are 0, is not beyond the threshold.
    const bool far = (top - z) / std::max(std::fabs(z), top) > 2 * epsilon;
    pi_E[e] = far || e == without ? Real(0) : std::exp(z - top);
    sum += pi_E[e];
  }
  for (int e = 0; e < n; ++e) pi_E[e] /= sum;
  return pi_E[chosen];
}

template <class Real>
void forward(ops::Context& context, const RouterConfig& config, const RouterInputOf<Real>& input,
             RoutingDecisionOf<Real>& decision) {
  const int n = config.n_experts;
  const Real epsilon = static_cast<Real>(config.mixer_epsilon);
  const Real scale = static_cast<Real>(config.scale);
  const auto body = [&](std::int32_t t, Real* pi_E) {
    const Real* const z_E = input.logits_TE + std::int64_t{t} * n;
    Real* const p_E = decision.scores_TE.data() + std::int64_t{t} * n;
    std::int32_t* const ids = decision.topk_ids_TK.data() + std::int64_t{t} * 2;
    Real* const w = decision.topk_weights_TK.data() + std::int64_t{t} * 2;
    kernels::top_k(z_E, n, 2, ids);
    if (!row_is_finite(z_E, n)) {
      poison(p_E, n);
      poison(w, 2);
      return false;
    }
    kernels::softmax(z_E, n, p_E);
    w[0] = scale * round_softmax(z_E, n, ids[0], kNoExpert, epsilon, pi_E);
    w[1] = scale * round_softmax(z_E, n, ids[1], ids[0], epsilon, pi_E);
    return true;
  };
  decision.nonfinite_token = for_each_token<Real>(context, input.n_tokens, n, body);
}

template <class Real>
void backward(ops::Context& context, const RouterConfig& config, const RouterInputOf<Real>&,
              const RoutingDecisionOf<Real>& decision, const RouterGradientsOf<Real>& gradients) {
  const int n = config.n_experts;
  const Real epsilon = static_cast<Real>(config.mixer_epsilon);
  const Real scale = static_cast<Real>(config.scale);
  const auto body = [&](std::int32_t t, Real* pi_E) {
    const std::int64_t row = std::int64_t{t} * n;
    const Real* const z_E = decision.logits_TE.data() + row;
    const std::int32_t* const ids = decision.topk_ids_TK.data() + std::int64_t{t} * 2;
    const Real* const dw = gradients.d_topk_weights_TK + std::int64_t{t} * 2;
    Real* const dz_E = gradients.d_logits_TE + row;
    std::fill_n(dz_E, n, Real(0));
    if (gradients.d_scores_TE != nullptr) {
      softmax_row_backward(decision.scores_TE.data() + row, gradients.d_scores_TE + row, n, dz_E);
    }
    for (int round = 0; round < 2; ++round) {
      const std::int32_t without = round == 0 ? kNoExpert : ids[0];
      const Real pi = round_softmax(z_E, n, ids[round], without, epsilon, pi_E);
      const Real factor = scale * dw[round] * pi;
      for (int e = 0; e < n; ++e) dz_E[e] -= factor * pi_E[e];
      dz_E[ids[round]] += factor;
    }
    return true;
  };
  for_each_token<Real>(context, decision.n_tokens, n, body);
}

}  // namespace

extern const RouterSpec sparsemixer_router;
constinit const RouterSpec sparsemixer_router = {
    .traits = {.name = "sparsemixer",
               .citation = "Liu et al. 2024 (GRIN MoE), sec. 2.2, as Phi-3.5-MoE answers",
               .equation = "w_i = softmax over the logits close to the i-th largest, i = 1, 2",
               .use_when = "To run PhiMoE as it was trained"},
    .set_defaults =
        [](RouterConfig& config) {
          config.k = 2;
          config.renormalize = false;
        },
    .validate = validate,
    .slots = nullptr,
    .f32 = {forward<float>, backward<float>},
    .f64 = {forward<double>, backward<double>}};

}  // namespace conclave::moe
