#include "moe/plan.h"

#include "base/error.h"

namespace conclave::moe {

template <class Real>
DispatchPlan make_plan(const RoutingDecisionOf<Real>& decision) {
  const std::size_t n_experts = static_cast<std::size_t>(decision.n_experts);
  const std::size_t n_slots = decision.topk_ids_TK.size();
  CONCLAVE_CHECK(static_cast<std::int64_t>(n_slots) ==
                     static_cast<std::int64_t>(decision.n_tokens) * decision.k &&
                 (decision.dropped_TK.empty() || decision.dropped_TK.size() == n_slots));
  DispatchPlan plan;
  plan.n_experts = decision.n_experts;
  plan.tokens_per_expert_E.assign(n_experts, 0);
  plan.expert_offsets_E1.assign(n_experts + 1, 0);
  for (std::size_t slot = 0; slot < n_slots; ++slot) {
    const std::int32_t id = decision.topk_ids_TK[slot];
    CONCLAVE_CHECK(id >= kNoExpert && id < decision.n_experts, "expert {} of {}", id,
                   decision.n_experts);
    if (id == kNoExpert) continue;
    if (decision.is_dropped(static_cast<std::int64_t>(slot))) {
      ++plan.n_dropped;
    } else {
      ++plan.tokens_per_expert_E[static_cast<std::size_t>(id)];
    }
  }
  for (std::size_t e = 0; e < n_experts; ++e) {
    plan.expert_offsets_E1[e + 1] = plan.expert_offsets_E1[e] + plan.tokens_per_expert_E[e];
  }

  const auto n_rows = static_cast<std::size_t>(plan.expert_offsets_E1[n_experts]);
  plan.row_token_N.resize(n_rows);
  plan.row_slot_N.resize(n_rows);
  plan.slot_row_TK.resize(n_slots);
  std::vector<std::int32_t> next_E(plan.expert_offsets_E1.begin(),
                                   plan.expert_offsets_E1.end() - 1);
  std::size_t slot = 0;
  for (std::int32_t t = 0; t < decision.n_tokens; ++t) {
    for (int i = 0; i < decision.k; ++i, ++slot) {
      const std::int32_t id = decision.topk_ids_TK[slot];
      if (id == kNoExpert || decision.is_dropped(static_cast<std::int64_t>(slot))) {
        plan.slot_row_TK[slot] = -1;
        continue;
      }
      const std::int32_t row = next_E[static_cast<std::size_t>(id)]++;
      plan.row_token_N[static_cast<std::size_t>(row)] = t;
      plan.row_slot_N[static_cast<std::size_t>(row)] = static_cast<std::int32_t>(slot);
      plan.slot_row_TK[slot] = row;
    }
  }
  return plan;
}

template DispatchPlan make_plan(const RoutingDecisionOf<float>&);
template DispatchPlan make_plan(const RoutingDecisionOf<double>&);

}  // namespace conclave::moe
