// The merging loop of byte-pair encoding: as long as any neighbours may join, those of the lowest
// rank do, leftmost first. O(n log n) for n symbols.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/merge_table.h"
#include "text/rank_queue.h"

namespace conclave::text {

// Memory that is kept from word to word.
struct BpeMergeScratch {
  std::vector<std::uint32_t> ranks;
  std::vector<std::uint32_t> next;
  std::vector<std::uint32_t> previous;
  std::vector<std::int32_t> merged;
  RankQueue queue;
  // Of the tokens in `watched`, the pair that was last seen to make them.
  std::unordered_map<std::int32_t, std::pair<std::int32_t, std::int32_t>> made_from;
};

// Merges `symbols` in place; at most 2^32 - 2 of them. Symbols that no merge names stay.
// `watched[id]`, where it is not empty, makes scratch.made_from be filled (and not cleared).
void merge_symbols(const MergeTable& table, std::vector<std::int32_t>& symbols,
                   BpeMergeScratch& scratch, const std::vector<bool>& watched = {});

}  // namespace conclave::text
