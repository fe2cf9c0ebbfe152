// noisy_topk: top-k of logits with learnt noise.
//
// Shazeer et al. 2017, "Outrageously Large Neural Networks", section 2.1, eq. 3-5:
//
//   H = z + n * sigma,  sigma = softplus(u) + noise_floor,  n ~ N(0, 1)     (training)
//   H = z                                                                   (otherwise)
//   w = scale * softmax over the k best of H
//
// z = x W_router and u = x W_noise come from outside. The scores that balance losses use are
// softmax(z), without noise. Gradient: dH as in softmax_topk; dz += dH, du = dH * n * sigmoid(u).
// k = 1 gives no gradient, as the paper notes (k > 1).
//
// Shape letters: T tokens, E experts, K experts per token.
#include "moe/routers/noisy_topk.h"

#include "base/error.h"
#include "kernels/softmax/softmax.h"
#include "moe/routers/select.h"
#include "moe/routers/spec.h"
#include "moe/routers/weights.h"
#include "moe/rows.h"

namespace conclave::moe {
namespace {

void validate(const RouterConfig& config) {
  if (!config.renormalize) {
    fail(ErrorKind::kInvalidArgument,
         "router 'noisy_topk': renormalize = false: its weights are a softmax over the selected "
         "experts (Shazeer et al. 2017, eq. 3); set renormalize = true, or use softmax_topk");
  }
}

template <class Real>
void forward(ops::Context& context, const RouterConfig& config, const RouterInputOf<Real>& input,
             RoutingDecisionOf<Real>& decision) {
  const int n = config.n_experts;
  const int k = config.k;
  const Real scale = static_cast<Real>(config.scale);
  const Real floor = static_cast<Real>(config.noise_floor);
  const bool noisy = input.training;
  if (noisy) decision.noise_TE.resize(static_cast<std::size_t>(std::int64_t{input.n_tokens} * n));
  const auto body = [&](std::int32_t t, Real* h_E) {
    const std::int64_t row = std::int64_t{t} * n;
    const Real* const z_E = input.logits_TE + row;
    Real* const p_E = decision.scores_TE.data() + row;
    std::int32_t* const ids_K = decision.topk_ids_TK.data() + std::int64_t{t} * k;
    Real* const w_K = decision.topk_weights_TK.data() + std::int64_t{t} * k;
    if (noisy) {
      Real* const noise_E = decision.noise_TE.data() + row;
      router_noise_row(input.rng, input.first_token + static_cast<std::uint64_t>(t), n, noise_E);
      noisy_logits_row(z_E, input.noise_logits_TE + row, noise_E, floor, n, h_E);
    } else {
      std::copy_n(z_E, n, h_E);
    }
    kernels::top_k(h_E, n, k, ids_K);
    if (!row_is_finite(z_E, n) || !row_is_finite(h_E, n)) {
      poison(p_E, n);
      poison(w_K, k);
      return false;
    }
    kernels::softmax(z_E, n, p_E);
    selected_softmax(h_E, ids_K, k, scale, w_K);
    return true;
  };
  decision.nonfinite_token = for_each_token<Real>(context, input.n_tokens, n, body);
}

template <class Real>
void backward(ops::Context& context, const RouterConfig& config, const RouterInputOf<Real>& input,
              const RoutingDecisionOf<Real>& decision, const RouterGradientsOf<Real>& gradients) {
  const int n = config.n_experts;
  const int k = config.k;
  const Real scale = static_cast<Real>(config.scale);
  const bool noisy = !decision.noise_TE.empty();
  const auto body = [&](std::int32_t t, Real*) {
    const std::int64_t row = std::int64_t{t} * n;
    const std::int32_t* const ids_K = decision.topk_ids_TK.data() + std::int64_t{t} * k;
    Real* const dz_E = gradients.d_logits_TE + row;
    std::fill_n(dz_E, n, Real(0));
    selected_softmax_backward(decision.topk_weights_TK.data() + std::int64_t{t} * k,
                              gradients.d_topk_weights_TK + std::int64_t{t} * k, ids_K, k, scale,
                              dz_E);
    if (gradients.d_noise_logits_TE != nullptr) {
      Real* const du_E = gradients.d_noise_logits_TE + row;
      std::fill_n(du_E, n, Real(0));
      for (int i = 0; noisy && i < k; ++i) {
        const std::int32_t e = ids_K[i];
        du_E[e] = dz_E[e] * decision.noise_TE[static_cast<std::size_t>(row + e)] *
                  sigmoid(input.noise_logits_TE[row + e]);
      }
    }
    if (gradients.d_scores_TE != nullptr) {
      softmax_row_backward(decision.scores_TE.data() + row, gradients.d_scores_TE + row, n, dz_E);
    }
    return true;
  };
  for_each_token<Real>(context, decision.n_tokens, 0, body);
}

}  // namespace

extern const RouterSpec noisy_topk_router;
constinit const RouterSpec noisy_topk_router = {
    .traits = {.name = "noisy_topk",
               .citation = "Shazeer et al. 2017 (Outrageously Large Neural Networks), eq. 3-5",
               .equation = "w = softmax over the k best of z + N(0,1) * softplus(u)",
               .use_when = "Exploration by learnt noise, with the importance and load losses",
               .needs_noise_logits = true,
               .supports_bias = false,
               .supports_groups = false},
    .set_defaults = nullptr,
    .validate = validate,
    .slots = nullptr,
    .f32 = {forward<float>, backward<float>},
    .f64 = {forward<double>, backward<double>}};

}  // namespace conclave::moe
