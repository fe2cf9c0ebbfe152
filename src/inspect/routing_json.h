// routing.json: a RoutingSummary as JSON. The schema is a contract: a key keeps its name and
// meaning within a version, new keys may be added, and anything else is a new version.
//
// {
//   "schema": "conclave.routing_analysis/1",
//   "n_experts", "k", "vocab_size", "tokens": integers,
//   "labels": [{"name", "tokens"}],                      C entries
//   "overall": {"max_vio", "max_vio_mean", "dead_experts", "nmi_mean" *, "nmi_random_mean" *},
//   "layers": [{
//     "layer",                                           the model's number of the layer
//     "tokens", "choices", "dropped", "unused_slots": integers,
//     "max_vio", "load_entropy", "router_entropy" *,     entropies in nats
//     "dead_experts": [expert],
//     "nmi" *, "nmi_random" *, "repeat_rate" *, "repeat_rate_random",
//     "label_expert": C x E choices, "label_expert_top1": C x E tokens,
//     "coactivation" *: E x E tokens, "coactivation_expected" *: E x E, by chance,
//     "top_pairs": [{"a", "b", "count", "expected", "lift"}],
//     "flow" *: E x E, row: top-1 expert in the MoE layer before, column: in this one,
//     "experts": [{
//       "expert", "choices", "top1", "load_share", "weight_share", "words",
//       "labels": [{"label" (index), "count", "share", "lift"}],
//       "favourites", "frequent": [{"id", "text", "count", "share", "lift"}]
//     }]
//   }]
// }
// Keys marked * may be null: not applicable, or (E x E tables) too many experts.
// Shares and rates are 0..1; all texts are valid UTF-8 as display_text.h makes it.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "inspect/routing_summary.h"

namespace conclave::inspect {

inline constexpr const char* kRoutingSchema = "conclave.routing_analysis/1";

// E x E tables are left out (null) above `max_pair_experts` experts.
nlohmann::json routing_json(const RoutingSummary& summary, int max_pair_experts = kMaxPairExperts);

}  // namespace conclave::inspect
