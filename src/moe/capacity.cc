#include "moe/capacity.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "moe/routers/select.h"

namespace conclave::moe {
namespace {

// All first choices in token order, then all second choices, ...
template <class Real>
std::int64_t drop_by_position(std::int64_t capacity, RoutingDecisionOf<Real>& decision) {
  std::vector<std::int64_t> taken_E(static_cast<std::size_t>(decision.n_experts), 0);
  std::int64_t dropped = 0;
  for (int i = 0; i < decision.k; ++i) {
    for (int t = 0; t < decision.n_tokens; ++t) {
      const auto slot = static_cast<std::size_t>(std::int64_t{t} * decision.k + i);
      const std::int32_t id = decision.topk_ids_TK[slot];
      if (id == kNoExpert) continue;
      if (++taken_E[static_cast<std::size_t>(id)] <= capacity) continue;
      decision.dropped_TK[slot] = 1;
      ++dropped;
    }
  }
  return dropped;
}

// Every expert keeps its largest weights; ties go to the earlier token (slots rise with tokens, and
// a token has an expert once).
template <class Real>
std::int64_t drop_by_probability(std::int64_t capacity, RoutingDecisionOf<Real>& decision) {
  std::vector<std::vector<std::int32_t>> slots_E(static_cast<std::size_t>(decision.n_experts));
  for (std::size_t slot = 0; slot < decision.topk_ids_TK.size(); ++slot) {
    const std::int32_t id = decision.topk_ids_TK[slot];
    if (id != kNoExpert) {
      slots_E[static_cast<std::size_t>(id)].push_back(static_cast<std::int32_t>(slot));
    }
  }
  const BetterKey<Real> better{decision.topk_weights_TK.data()};
  std::int64_t dropped = 0;
  for (std::vector<std::int32_t>& slots : slots_E) {
    if (static_cast<std::int64_t>(slots.size()) <= capacity) continue;
    const auto first_out = slots.begin() + capacity;
    std::nth_element(slots.begin(), first_out, slots.end(), better);
    for (auto slot = first_out; slot != slots.end(); ++slot) {
      decision.dropped_TK[static_cast<std::size_t>(*slot)] = 1;
      ++dropped;
    }
  }
  return dropped;
}

}  // namespace

std::int64_t expert_capacity(std::int64_t n_tokens, int k, int n_experts, double capacity_factor) {
  CONCLAVE_CHECK(n_tokens >= 0 && k >= 1 && n_experts >= 1 && capacity_factor > 0);
  if (n_tokens == 0) return 0;
  const double exact =
      static_cast<double>(n_tokens) * k / static_cast<double>(n_experts) * capacity_factor;
  // A product that is whole up to rounding (110 * 1.1) must not be pushed to the next one.
  const double capacity = std::ceil(exact * (1 - 1e-12));
  if (capacity >= static_cast<double>(n_tokens)) return n_tokens;
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(capacity));
}

template <class Real>
std::int64_t apply_capacity(std::int64_t capacity, CapacityOrder order,
                            RoutingDecisionOf<Real>& decision) {
  decision.dropped_TK.assign(decision.topk_ids_TK.size(), 0);
  const std::int64_t dropped = order == CapacityOrder::kPosition
                                   ? drop_by_position(capacity, decision)
                                   : drop_by_probability(capacity, decision);
  if (dropped == 0) decision.dropped_TK.clear();
  return dropped;
}

template std::int64_t apply_capacity(std::int64_t, CapacityOrder, RoutingDecisionOf<float>&);
template std::int64_t apply_capacity(std::int64_t, CapacityOrder, RoutingDecisionOf<double>&);

}  // namespace conclave::moe
