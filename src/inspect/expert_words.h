// What an expert does, in a plain sentence for people who do not read tables.
#pragma once

#include <string>
#include <vector>

#include "inspect/routing_summary.h"

namespace conclave::inspect {

// Below this many choices nothing is said about an expert but that they are too few.
inline constexpr std::int64_t kMinChoicesForWords = 30;

// For example "Expert 5 of layer 2 handles mostly Japanese (71 % of its tokens, 5.2 times the
// average); likes: ...". Reads everything of `expert` but its words. "Mostly" is half its tokens or
// more, "leans to" a label that it sees at least 1.5 times as often as the average expert.
std::string expert_words(const ExpertFigures& expert, int layer,
                         const std::vector<LabelTotal>& labels);

}  // namespace conclave::inspect
