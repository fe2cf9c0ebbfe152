// Losses that regularise the router itself: z-loss, importance, and the load of noisy top-k.
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "kernels/softmax/softmax.h"
#include "moe/losses.h"
#include "moe/routers/noisy_topk.h"
#include "moe/routers/spec.h"
#include "moe/rows.h"

namespace conclave::moe {
namespace {

// CV^2 = variance / mean^2 with the population variance, and its gradient
// 2 (v_e - mean) / (E mean^2) - 2 variance / (E mean^3) times `weight`, in place of v.
double squared_variation(std::vector<double>& v_E, double weight) {
  const auto n = static_cast<double>(v_E.size());
  double mean = 0;
  for (const double v : v_E) mean += v / n;
  if (mean == 0) {
    v_E.assign(v_E.size(), 0.0);
    return 0;
  }
  double variance = 0;
  for (const double v : v_E) variance += (v - mean) * (v - mean) / n;
  for (double& v : v_E) {
    v = weight * 2 / (n * mean * mean) * ((v - mean) - variance / mean);
  }
  return variance / (mean * mean);
}

// One token of noisy top-k's smooth load. An expert among the k best is compared with the best of
// the others, the others with the last of the k best: P_e = Phi((z_e - H_threshold) / sigma_e).
template <class Real>
struct SmoothLoadRow {
  const Real* z_E;
  const Real* u_E;
  const Real* noise_E;
  Real floor;
  std::int32_t last_in;    // the k-th largest H
  std::int32_t first_out;  // the (k+1)-th largest
  const Real* h_E;

  std::int32_t threshold(std::int32_t e) const {
    const bool in = h_E[e] > h_E[first_out] || (h_E[e] == h_E[first_out] && e < first_out);
    return in ? first_out : last_in;
  }
  double sigma(std::int32_t e) const {
    return static_cast<double>(softplus(u_E[e])) + static_cast<double>(floor);
  }
  double argument(std::int32_t e) const {
    return (static_cast<double>(z_E[e]) - static_cast<double>(h_E[threshold(e)])) / sigma(e);
  }
};

template <class Real>
SmoothLoadRow<Real> smooth_load_row(const RouterConfig& config, const RouterInputOf<Real>& input,
                                    const RoutingDecisionOf<Real>& decision, std::int32_t t,
                                    Real* h_E) {
  const int n = config.n_experts;
  const std::int64_t row = std::int64_t{t} * n;
  const std::int32_t* const ids_K = decision.topk_ids_TK.data() + std::int64_t{t} * decision.k;
  SmoothLoadRow<Real> result{.z_E = decision.logits_TE.data() + row,
                             .u_E = input.noise_logits_TE + row,
                             .noise_E = decision.noise_TE.data() + row,
                             .floor = static_cast<Real>(config.noise_floor),
                             .last_in = ids_K[decision.k - 1],
                             .first_out = kNoExpert,
                             .h_E = h_E};
  noisy_logits_row(result.z_E, result.u_E, result.noise_E, result.floor, n, h_E);
  const Real last = h_E[result.last_in];
  for (std::int32_t e = 0; e < n; ++e) {
    const bool in = h_E[e] > last || (h_E[e] == last && e <= result.last_in);
    if (in) continue;
    if (result.first_out == kNoExpert || h_E[e] > h_E[result.first_out]) result.first_out = e;
  }
  // Only a non-finite row can have no loser; any valid index will do, its load is NaN anyway.
  if (result.first_out == kNoExpert) result.first_out = result.last_in;
  return result;
}

// dz and du of sum_e d_load_e P_e, for one token.
template <class Real>
void smooth_load_backward(const SmoothLoadRow<Real>& row, const std::vector<double>& d_load_E,
                          Real* dz_E, Real* du_E) {
  const double kPeak = 1 / std::sqrt(2 * std::numbers::pi);
  const auto add_to_noise = [&](std::int32_t e, double d_sigma) {
    if (du_E != nullptr) {
      du_E[e] += static_cast<Real>(d_sigma * static_cast<double>(sigmoid(row.u_E[e])));
    }
  };
  for (std::int32_t e = 0; e < static_cast<std::int32_t>(d_load_E.size()); ++e) {
    const double a = row.argument(e);
    const double d_a = d_load_E[static_cast<std::size_t>(e)] * kPeak * std::exp(-a * a / 2);
    const double d_z = d_a / row.sigma(e);
    const std::int32_t other = row.threshold(e);
    dz_E[e] += static_cast<Real>(d_z);
    dz_E[other] -= static_cast<Real>(d_z);  // the threshold is H = z + noise * sigma
    add_to_noise(e, -d_z * a);
    add_to_noise(other, -d_z * static_cast<double>(row.noise_E[other]));
  }
}

}  // namespace

template <class Real>
double z_loss(ops::Context& context, const RoutingDecisionOf<Real>& decision, double coefficient,
              Real* d_logits_TE) {
  if (decision.n_tokens == 0 || decision.logits_TE.empty()) return 0;
  const int n = decision.n_experts;
  const double step = 2 * coefficient / decision.n_tokens;
  double* const lse_T = context.scratch<double>(ops::Context::kLoss, decision.n_tokens);
  const auto body = [&](std::int32_t t, Real* p_E) {
    const std::int64_t row = std::int64_t{t} * n;
    const Real lse = kernels::softmax(decision.logits_TE.data() + row, n, p_E);
    lse_T[t] = static_cast<double>(lse);
    if (d_logits_TE != nullptr) {
      const Real factor = static_cast<Real>(step * lse_T[t]);
      for (int e = 0; e < n; ++e) d_logits_TE[row + e] += factor * p_E[e];
    }
    return true;
  };
  for_each_token<Real>(context, decision.n_tokens, n, body);
  double sum = 0;
  for (int t = 0; t < decision.n_tokens; ++t) sum += lse_T[t] * lse_T[t];
  return sum / decision.n_tokens;
}

template <class Real>
double importance_loss(const RoutingDecisionOf<Real>& decision, double coefficient,
                       Real* d_topk_weights_TK) {
  if (decision.n_tokens == 0 || decision.scores_TE.empty() || decision.balanced_by_construction) {
    return 0;
  }
  std::vector<double> importance_E(static_cast<std::size_t>(decision.n_experts), 0.0);
  const std::size_t n_slots = decision.topk_ids_TK.size();
  for (std::size_t slot = 0; slot < n_slots; ++slot) {
    const std::int32_t id = decision.topk_ids_TK[slot];
    if (id == kNoExpert) continue;
    importance_E[static_cast<std::size_t>(id)] +=
        static_cast<double>(decision.topk_weights_TK[slot]);
  }
  const double value = squared_variation(importance_E, coefficient);
  if (d_topk_weights_TK == nullptr) return value;
  for (std::size_t slot = 0; slot < n_slots; ++slot) {
    const std::int32_t id = decision.topk_ids_TK[slot];
    if (id == kNoExpert) continue;
    d_topk_weights_TK[slot] += static_cast<Real>(importance_E[static_cast<std::size_t>(id)]);
  }
  return value;
}

template <class Real>
double noisy_load_loss(ops::Context& context, const RouterConfig& config,
                       const RouterInputOf<Real>& input, const RoutingDecisionOf<Real>& decision,
                       double coefficient, Real* d_logits_TE, Real* d_noise_logits_TE) {
  const int n = decision.n_experts;
  if (decision.noise_TE.empty() || decision.k == n) return 0;
  CONCLAVE_CHECK(config.n_experts == n && input.n_tokens == decision.n_tokens &&
                 input.noise_logits_TE != nullptr);
  double* const load_TE =
      context.scratch<double>(ops::Context::kLoss, std::int64_t{decision.n_tokens} * n);
  const auto measure = [&](std::int32_t t, Real* h_E) {
    const SmoothLoadRow<Real> row = smooth_load_row(config, input, decision, t, h_E);
    for (std::int32_t e = 0; e < n; ++e) {
      load_TE[std::int64_t{t} * n + e] =
          0.5 * std::erfc(-row.argument(e) * (1 / std::numbers::sqrt2));
    }
    return true;
  };
  for_each_token<Real>(context, decision.n_tokens, n, measure);
  std::vector<double> load_E(static_cast<std::size_t>(n), 0.0);
  for (std::int64_t t = 0; t < decision.n_tokens; ++t) {
    for (std::size_t e = 0; e < load_E.size(); ++e) {
      load_E[e] += load_TE[t * n + static_cast<std::int64_t>(e)];
    }
  }
  const double value = squared_variation(load_E, coefficient);
  if (d_logits_TE == nullptr) return value;
  const auto spread = [&](std::int32_t t, Real* h_E) {
    const SmoothLoadRow<Real> row = smooth_load_row(config, input, decision, t, h_E);
    const std::int64_t begin = std::int64_t{t} * n;
    smooth_load_backward(row, load_E, d_logits_TE + begin,
                         d_noise_logits_TE == nullptr ? nullptr : d_noise_logits_TE + begin);
    return true;
  };
  for_each_token<Real>(context, decision.n_tokens, n, spread);
  return value;
}

#define CONCLAVE_INSTANTIATE(Real)                                                                \
  template double z_loss(ops::Context&, const RoutingDecisionOf<Real>&, double, Real*);           \
  template double importance_loss(const RoutingDecisionOf<Real>&, double, Real*);                 \
  template double noisy_load_loss(ops::Context&, const RouterConfig&, const RouterInputOf<Real>&, \
                                  const RoutingDecisionOf<Real>&, double, Real*, Real*);
CONCLAVE_INSTANTIATE(float)
CONCLAVE_INSTANTIATE(double)
#undef CONCLAVE_INSTANTIATE

}  // namespace conclave::moe
