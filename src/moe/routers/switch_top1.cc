// switch_top1: one expert per token, weighted by its raw probability.
//
// Fedus et al. 2021, "Switch Transformers", section 2.1, eq. 1-2: p = softmax(z), e = argmax p,
// y = p_e f_e(x). The raw probability is what lets the router learn: renormalised, the weight of a
// single expert would be the constant 1.
//
// Gradient: dz_j = scale * g p_e ([j = e] - p_j).
//
// Shape letters: T tokens, E experts; K = 1.
#include "base/error.h"
#include "kernels/softmax/softmax.h"
#include "moe/routers/select.h"
#include "moe/routers/spec.h"
#include "moe/rows.h"

namespace conclave::moe {
namespace {

void validate(const RouterConfig& config) {
  if (config.k != 1) {
    fail(ErrorKind::kInvalidArgument,
         "router 'switch_top1': k = {}: expected 1; use softmax_topk for more", config.k);
  }
  if (config.renormalize) {
    fail(
        ErrorKind::kInvalidArgument,
        "router 'switch_top1': renormalize = true: its weight is the raw probability (Fedus et al. "
        "2021, eq. 2); set renormalize = false");
  }
}

template <class Real>
void forward(ops::Context& context, const RouterConfig& config, const RouterInputOf<Real>& input,
             RoutingDecisionOf<Real>& decision) {
  const int n = config.n_experts;
  const auto body = [&](std::int32_t t, Real*) {
    const Real* const z_E = input.logits_TE + std::int64_t{t} * n;
    Real* const p_E = decision.scores_TE.data() + std::int64_t{t} * n;
    std::int32_t& id = decision.topk_ids_TK[static_cast<std::size_t>(t)];
    Real& weight = decision.topk_weights_TK[static_cast<std::size_t>(t)];
    kernels::top_k(z_E, n, 1, &id);
    if (!row_is_finite(z_E, n)) {
      poison(p_E, n);
      poison(&weight, 1);
      return false;
    }
    kernels::softmax(z_E, n, p_E);
    weight = static_cast<Real>(config.scale) * p_E[id];
    return true;
  };
  decision.nonfinite_token = for_each_token<Real>(context, input.n_tokens, 0, body);
}

template <class Real>
void backward(ops::Context& context, const RouterConfig& config, const RouterInputOf<Real>&,
              const RoutingDecisionOf<Real>& decision, const RouterGradientsOf<Real>& gradients) {
  const int n = config.n_experts;
  const Real scale = static_cast<Real>(config.scale);
  const auto body = [&](std::int32_t t, Real*) {
    const Real* const p_E = decision.scores_TE.data() + std::int64_t{t} * n;
    Real* const dz_E = gradients.d_logits_TE + std::int64_t{t} * n;
    const std::int32_t id = decision.topk_ids_TK[static_cast<std::size_t>(t)];
    const Real dp = scale * gradients.d_topk_weights_TK[t] * p_E[id];
    for (int e = 0; e < n; ++e) dz_E[e] = -dp * p_E[e];
    dz_E[id] += dp;
    if (gradients.d_scores_TE != nullptr) {
      softmax_row_backward(p_E, gradients.d_scores_TE + std::int64_t{t} * n, n, dz_E);
    }
    return true;
  };
  for_each_token<Real>(context, decision.n_tokens, 0, body);
}

}  // namespace

extern const RouterSpec switch_top1_router;
constinit const RouterSpec switch_top1_router = {
    .traits = {.name = "switch_top1",
               .citation = "Fedus et al. 2021 (Switch Transformers), eq. 1-2",
               .equation = "e = argmax p, w = p_e, p = softmax(z); capacity 1.25 in training",
               .use_when = "One expert per token: the least compute, needs a balance loss",
               .supports_bias = false,
               .supports_groups = false},
    .set_defaults =
        [](RouterConfig& config) {
          config.k = 1;
          config.renormalize = false;
          config.capacity_factor = 1.25;
        },
    .validate = validate,
    .slots = nullptr,
    .f32 = {forward<float>, backward<float>},
    .f64 = {forward<double>, backward<double>}};

}  // namespace conclave::moe
