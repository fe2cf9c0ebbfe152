// The merging loop of byte-pair encoding: as long as any neighbours may join, those of the lowest
// rank do, leftmost first. O(n log n) for n symbols.
#pragma once

#include <cstdint>
#include <vector>

#include "text/merge_table.h"
#include "text/rank_queue.h"

namespace conclave::text {

// Memory that is kept from word to word.
struct BpeMergeScratch {
  std::vector<std::uint32_t> ranks;
  std::vector<std::uint32_t> next;
  std::vector<std::uint32_t> previous;
  RankQueue queue;
};

// Merges `symbols` in place; at most 2^32 - 2 of them.
void merge_symbols(const MergeTable& table, std::vector<std::int32_t>& symbols,
                   BpeMergeScratch& scratch);

}  // namespace conclave::text
