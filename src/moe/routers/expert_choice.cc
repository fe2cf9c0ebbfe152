// expert_choice: each expert takes its best tokens, so the load is equal by construction.
//
// Zhou et al. 2022, "Mixture-of-Experts with Expert Choice Routing", section 3.2:
//
//   p = softmax over experts,  C = ceil(T * k / E) tokens per expert, at most T
//   expert e takes the C tokens with the largest p_te;  w_te = scale * p_te
//
// k is the mean number of experts per token (the paper's capacity factor c); a token gets 0 to E,
// so a decision has E slots. Whether a token is taken depends on all others, later ones included:
// not for causal models, and never the same bits over batch splits.
// Gradient: dp_te = scale * g_te for chosen pairs, then the softmax' Jacobian.
//
// Shape letters: T tokens, E experts, C tokens per expert.
#include <vector>

#include "base/error.h"
#include "kernels/softmax/softmax.h"
#include "moe/capacity.h"
#include "moe/routers/select.h"
#include "moe/routers/spec.h"
#include "moe/rows.h"

namespace conclave::moe {
namespace {

void validate(const RouterConfig& config) {
  if (config.renormalize) {
    fail(ErrorKind::kInvalidArgument,
         "router 'expert_choice': renormalize = true: its weights are raw probabilities (Zhou et "
         "al. 2022, section 3.2); set renormalize = false");
  }
}

// chosen_TE[t, e] = 1 for the C best tokens of every expert (larger p, then the earlier token; NaN
// last); threads split experts.
template <class Real>
std::vector<std::uint8_t> choose_tokens(ops::Context& context, const std::vector<Real>& p_TE,
                                        int n_tokens, int n, std::int64_t capacity) {
  std::vector<std::uint8_t> chosen_TE(p_TE.size(), 0);
  const int threads = context.pool.size();
  const auto stride = static_cast<std::size_t>(n_tokens);
  std::vector<Real> columns(stride * static_cast<std::size_t>(threads));
  std::vector<std::int32_t> orders(columns.size());
  context.pool.run([&](int thread) {
    Real* const column_T = columns.data() + stride * static_cast<std::size_t>(thread);
    std::int32_t* const tokens = orders.data() + stride * static_cast<std::size_t>(thread);
    for (int e = thread; e < n; e += threads) {
      for (std::int32_t t = 0; t < n_tokens; ++t) {
        column_T[t] = p_TE[static_cast<std::size_t>(std::int64_t{t} * n + e)];
        tokens[t] = t;
      }
      std::nth_element(tokens, tokens + capacity, tokens + n_tokens, BetterKey<Real>{column_T});
      for (std::int64_t i = 0; i < capacity; ++i) {
        chosen_TE[static_cast<std::size_t>(std::int64_t{tokens[i]} * n + e)] = 1;
      }
    }
  });
  return chosen_TE;
}

template <class Real>
void forward(ops::Context& context, const RouterConfig& config, const RouterInputOf<Real>& input,
             RoutingDecisionOf<Real>& decision) {
  const int n = config.n_experts;
  decision.balanced_by_construction = true;
  const auto score = [&](std::int32_t t, Real*) {
    const Real* const z_E = input.logits_TE + std::int64_t{t} * n;
    Real* const p_E = decision.scores_TE.data() + std::int64_t{t} * n;
    if (!row_is_finite(z_E, n)) {
      poison(p_E, n);
      return false;
    }
    kernels::softmax(z_E, n, p_E);
    return true;
  };
  decision.nonfinite_token = for_each_token<Real>(context, input.n_tokens, 0, score);

  const std::int64_t capacity = expert_capacity(input.n_tokens, config.k, n, 1.0);
  const std::vector<std::uint8_t> chosen_TE =
      choose_tokens(context, decision.scores_TE, input.n_tokens, n, capacity);

  const auto collect = [&](std::int32_t t, Real*) {
    const std::int64_t row = std::int64_t{t} * n;
    const Real* const p_E = decision.scores_TE.data() + row;
    std::int32_t* const ids = decision.topk_ids_TK.data() + row;
    Real* const w = decision.topk_weights_TK.data() + row;
    int used = 0;
    for (int e = 0; e < n; ++e) {
      if (chosen_TE[static_cast<std::size_t>(row + e)] != 0) ids[used++] = e;
    }
    std::sort(ids, ids + used, BetterKey<Real>{p_E});
    for (int i = 0; i < used; ++i) w[i] = static_cast<Real>(config.scale) * p_E[ids[i]];
    std::fill(ids + used, ids + n, kNoExpert);
    std::fill(w + used, w + n, Real(0));
    return true;
  };
  for_each_token<Real>(context, input.n_tokens, 0, collect);
}

template <class Real>
void backward(ops::Context& context, const RouterConfig& config, const RouterInputOf<Real>&,
              const RoutingDecisionOf<Real>& decision, const RouterGradientsOf<Real>& gradients) {
  const int n = config.n_experts;
  const Real scale = static_cast<Real>(config.scale);
  const auto body = [&](std::int32_t t, Real* dp_E) {
    const std::int64_t row = std::int64_t{t} * n;
    const std::int32_t* const ids = decision.topk_ids_TK.data() + row;
    for (int e = 0; e < n; ++e) {
      dp_E[e] = gradients.d_scores_TE == nullptr ? Real(0) : gradients.d_scores_TE[row + e];
    }
    for (int i = 0; i < n && ids[i] != kNoExpert; ++i) {
      dp_E[ids[i]] += scale * gradients.d_topk_weights_TK[row + i];
    }
    Real* const dz_E = gradients.d_logits_TE + row;
    std::fill_n(dz_E, n, Real(0));
    softmax_row_backward(decision.scores_TE.data() + row, dp_E, n, dz_E);
    return true;
  };
  for_each_token<Real>(context, decision.n_tokens, n, body);
}

}  // namespace

extern const RouterSpec expert_choice_router;
constinit const RouterSpec expert_choice_router = {
    .traits = {.name = "expert_choice",
               .citation = "Zhou et al. 2022 (Expert Choice Routing), sec. 3.2",
               .equation = "expert e takes the ceil(T k / E) tokens of largest p_te, w_te = p_te",
               .use_when = "Encoders and other non-causal models: perfect balance, no loss",
               .causal = false,
               .supports_bias = false,
               .supports_groups = false,
               .supports_capacity = false},
    .set_defaults = [](RouterConfig& config) { config.renormalize = false; },
    .validate = validate,
    .slots = [](const RouterConfig& config) { return config.n_experts; },
    .f32 = {forward<float>, backward<float>},
    .f64 = {forward<double>, backward<double>}};

}  // namespace conclave::moe
