// A routing decision is a value: which experts each token goes to and with what weight, plus the
// scores that losses and statistics need. A router makes it; the plan, the experts, the combine,
// the losses and the statistics read it. Nothing about routing is stored anywhere else.
//
// Shape letters: T tokens, E experts, K experts per token (slots), N routed rows.
#pragma once

#include <cstdint>
#include <vector>

namespace conclave::moe {

inline constexpr std::int32_t kNoExpert = -1;

// Real is float in the engine and double in the gradient checks.
template <class Real>
struct RoutingDecisionOf {
  int n_tokens = 0;   // T
  int n_experts = 0;  // E
  int k = 0;          // K: slots per token

  // Chosen experts, best first; kNoExpert marks an unused slot (expert choice, hash with fewer).
  // Ids are unique within a token.
  std::vector<std::int32_t> topk_ids_TK;
  // Weight of each chosen expert's output in the sum; 0 for unused slots.
  std::vector<Real> topk_weights_TK;
  // Router logits before any noise, and the distribution over experts that balance losses use
  // (softmax of the logits, or normalised sigmoid scores). Empty for routers without logits.
  std::vector<Real> logits_TE;
  std::vector<Real> scores_TE;

  // Slots dropped by a capacity limit: their weight is 0 in the combine, but they keep their id and
  // weight here, so losses and statistics see what the router wanted. Empty: nothing dropped.
  std::vector<std::uint8_t> dropped_TK;

  // Standard normal draws that noisy top-k added in training, before scaling; else empty.
  std::vector<Real> noise_TE;

  // First token with a NaN or infinite logit, or -1. Such a token has valid, unique ids, but NaN
  // weights and scores: no one can take its output for an answer. Other tokens are untouched.
  std::int32_t nonfinite_token = -1;
  bool finite() const { return nonfinite_token < 0; }

  // Every expert gets equally many tokens whatever the logits (expert choice): balance losses are
  // 0.
  bool balanced_by_construction = false;

  bool is_dropped(std::int64_t slot) const {
    return !dropped_TK.empty() && dropped_TK[static_cast<std::size_t>(slot)] != 0;
  }
};

using RoutingDecision = RoutingDecisionOf<float>;

// Where each routed row goes, computed from the decision alone: rows sorted by expert and, within
// an expert, by token (a stable counting sort, so that the order of summation is fixed).
struct DispatchPlan {
  int n_experts = 0;
  std::vector<std::int32_t> tokens_per_expert_E;  // rows that the expert really computes
  std::vector<std::int32_t> expert_offsets_E1;    // exclusive prefix sums, E+1 entries
  std::vector<std::int32_t> row_token_N;          // token of each row
  std::vector<std::int32_t> row_slot_N;           // its slot t*K + k in the decision
  std::vector<std::int32_t> slot_row_TK;          // row of each slot, or -1: unused or dropped
  std::int64_t n_dropped = 0;

  std::int64_t n_rows() const { return static_cast<std::int64_t>(row_token_N.size()); }
};

}  // namespace conclave::moe
