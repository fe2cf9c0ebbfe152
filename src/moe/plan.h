// From a decision to the order of the routed rows: a stable counting sort by expert, so that the
// experts' rows are contiguous (the dropless layout of Gale et al. 2022, MegaBlocks) and
// the order of every later sum is fixed.
#pragma once

#include "moe/routing.h"

namespace conclave::moe {

// Unused and dropped slots get no row. Ids outside [-1, E) are a bug of a router (checked).
template <class Real>
DispatchPlan make_plan(const RoutingDecisionOf<Real>& decision);

}  // namespace conclave::moe
