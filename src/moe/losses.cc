#include "moe/losses.h"

#include <cmath>

#include "base/error.h"

namespace conclave::moe {
namespace {

template <class Real>
bool has_balance(const RoutingDecisionOf<Real>& decision) {
  return decision.n_tokens > 0 && !decision.scores_TE.empty() && !decision.balanced_by_construction;
}

// Choices per expert of tokens [begin, end).
template <class Real>
std::vector<std::int64_t> count_range(const RoutingDecisionOf<Real>& decision, std::int64_t begin,
                                      std::int64_t end) {
  std::vector<std::int64_t> counts_E(static_cast<std::size_t>(decision.n_experts), 0);
  for (std::int64_t slot = begin * decision.k; slot < end * decision.k; ++slot) {
    const std::int32_t id = decision.topk_ids_TK[static_cast<std::size_t>(slot)];
    if (id != kNoExpert) ++counts_E[static_cast<std::size_t>(id)];
  }
  return counts_E;
}

// sum_e factor_e * mean score_e over tokens [begin, end), not empty; adds weight times its
// gradient.
template <class Real>
double weighted_mean_scores(const RoutingDecisionOf<Real>& decision, std::int64_t begin,
                            std::int64_t end, const std::vector<double>& factor_E, double weight,
                            Real* d_scores_TE) {
  const auto n = static_cast<std::size_t>(decision.n_experts);
  const auto n_tokens = static_cast<double>(end - begin);
  std::vector<double> sum_E(n, 0.0);
  for (std::int64_t t = begin; t < end; ++t) {
    const Real* const p_E = decision.scores_TE.data() + static_cast<std::size_t>(t) * n;
    for (std::size_t e = 0; e < n; ++e) sum_E[e] += static_cast<double>(p_E[e]);
  }
  double value = 0;
  for (std::size_t e = 0; e < n; ++e) value += factor_E[e] * (sum_E[e] / n_tokens);
  if (d_scores_TE == nullptr) return value;
  std::vector<Real> step_E(n);
  for (std::size_t e = 0; e < n; ++e) {
    step_E[e] = static_cast<Real>(weight * factor_E[e] / n_tokens);
  }
  for (std::int64_t t = begin; t < end; ++t) {
    Real* const dp_E = d_scores_TE + static_cast<std::size_t>(t) * n;
    for (std::size_t e = 0; e < n; ++e) dp_E[e] += step_E[e];
  }
  return value;
}

}  // namespace

template <class Real>
std::vector<std::int64_t> count_choices(const RoutingDecisionOf<Real>& decision) {
  return count_range(decision, 0, decision.n_tokens);
}

template <class Real>
double load_balance_loss(const RoutingDecisionOf<Real>& decision, const LoadBalanceOptions& options,
                         Real* d_scores_TE) {
  if (!has_balance(decision)) return 0;
  const auto n = static_cast<std::size_t>(decision.n_experts);
  std::vector<std::int64_t> counts_E(options.counts_E.begin(), options.counts_E.end());
  std::int64_t counted = options.counted_tokens;
  if (counts_E.empty()) {
    counts_E = count_choices(decision);
    counted = decision.n_tokens;
  }
  CONCLAVE_CHECK(counts_E.size() == n && counted > 0, "{} counts of {} tokens", counts_E.size(),
                 counted);
  const double divisor = static_cast<double>(counted) * (options.divide_by_k ? decision.k : 1);
  std::vector<double> factor_E(n);
  for (std::size_t e = 0; e < n; ++e) {
    factor_E[e] = decision.n_experts * static_cast<double>(counts_E[e]) / divisor;
  }
  return weighted_mean_scores(decision, 0, decision.n_tokens, factor_E, options.coefficient,
                              d_scores_TE);
}

template <class Real>
double sequence_balance_loss(const RoutingDecisionOf<Real>& decision,
                             std::span<const std::int32_t> offsets_S1, double coefficient,
                             Real* d_scores_TE) {
  if (!has_balance(decision)) return 0;
  CONCLAVE_CHECK(!offsets_S1.empty() && offsets_S1.front() == 0 &&
                 offsets_S1.back() == decision.n_tokens);
  int n_sequences = 0;
  for (std::size_t s = 0; s + 1 < offsets_S1.size(); ++s) {
    CONCLAVE_CHECK(offsets_S1[s] <= offsets_S1[s + 1]);
    n_sequences += offsets_S1[s] < offsets_S1[s + 1] ? 1 : 0;
  }
  std::vector<double> factor_E(static_cast<std::size_t>(decision.n_experts));
  double total = 0;
  for (std::size_t s = 0; s + 1 < offsets_S1.size(); ++s) {
    const std::int32_t begin = offsets_S1[s];
    const std::int32_t end = offsets_S1[s + 1];
    if (begin == end) continue;
    const std::vector<std::int64_t> counts_E = count_range(decision, begin, end);
    const double divisor = static_cast<double>(decision.k) * (end - begin);
    for (std::size_t e = 0; e < factor_E.size(); ++e) {
      factor_E[e] = decision.n_experts * static_cast<double>(counts_E[e]) / divisor;
    }
    total += weighted_mean_scores(decision, begin, end, factor_E, coefficient / n_sequences,
                                  d_scores_TE);
  }
  return total / n_sequences;
}

void loss_free_bias_update(std::span<float> expert_bias_E, std::span<const std::int64_t> counts_E,
                           double rate, bool centre) {
  CONCLAVE_CHECK(expert_bias_E.size() == counts_E.size(), "{} biases, {} counts",
                 expert_bias_E.size(), counts_E.size());
  if (counts_E.empty()) return;
  const auto n = static_cast<double>(counts_E.size());
  double mean = 0;
  for (const std::int64_t count : counts_E) mean += static_cast<double>(count) / n;
  const auto change = [&](std::size_t e) {
    const auto count = static_cast<double>(counts_E[e]);
    return count < mean ? rate : (count > mean ? -rate : 0.0);
  };
  double shift = 0;
  for (std::size_t e = 0; centre && e < counts_E.size(); ++e) shift += change(e) / n;
  for (std::size_t e = 0; e < counts_E.size(); ++e) {
    expert_bias_E[e] += static_cast<float>(change(e) - shift);
  }
}

#define CONCLAVE_INSTANTIATE(Real)                                                             \
  template std::vector<std::int64_t> count_choices(const RoutingDecisionOf<Real>&);            \
  template double load_balance_loss(const RoutingDecisionOf<Real>&, const LoadBalanceOptions&, \
                                    Real*);                                                    \
  template double sequence_balance_loss(const RoutingDecisionOf<Real>&,                        \
                                        std::span<const std::int32_t>, double, Real*);
CONCLAVE_INSTANTIATE(float)
CONCLAVE_INSTANTIATE(double)
#undef CONCLAVE_INSTANTIATE

}  // namespace conclave::moe
