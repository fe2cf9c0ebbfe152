// Capacity: an upper bound on the tokens of one expert (Lepikhin et al. 2020, GShard, section 2.2;
// Fedus et al. 2021, Switch, section 2.2). Slots beyond it are marked as dropped.
//
//   C = ceil(T * K / E * capacity_factor), at least 1 and at most T
//
// Who stays:
//   kPosition:    first come, first served by token index; all first choices before all second
//                 choices, and so on.
//   kProbability: each expert keeps its C largest weights (ties: the earlier token).
//
// What is dropped depends on the whole batch, so a row's result does too, and a decoder with
// capacity may see a little of the future (a later token's first choice can push out an earlier
// token's second). That is why capacity is for training only and dropless is the default.
#pragma once

#include <cstdint>

#include "moe/router.h"
#include "moe/routing.h"

namespace conclave::moe {

std::int64_t expert_capacity(std::int64_t n_tokens, int k, int n_experts, double capacity_factor);

// Fills dropped_TK (replacing what was there); returns how many slots were dropped. With nothing to
// drop, dropped_TK becomes empty.
template <class Real>
std::int64_t apply_capacity(std::int64_t capacity, CapacityOrder order,
                            RoutingDecisionOf<Real>& decision);

}  // namespace conclave::moe
