#include "text/merge_table.h"

#include <algorithm>

#include "text/hash.h"

namespace conclave::text {

MergeTable::MergeTable() : seed_(random_seed()), slots_(16) {}

void MergeTable::reserve(std::size_t merges) {
  while (slots_.size() < 2 * merges) grow();
}

std::size_t MergeTable::slot_of(std::uint64_t pair) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t slot = hash_number(pair, seed_) & mask;
  while (slots_[slot].pair != pair && slots_[slot].pair != kEmpty) slot = (slot + 1) & mask;
  return slot;
}

void MergeTable::grow() {
  std::vector<Slot> old(slots_.size() * 2);
  old.swap(slots_);
  for (const Slot& slot : old) {
    if (slot.pair != kEmpty) slots_[slot_of(slot.pair)] = slot;
  }
}

void MergeTable::add(std::int32_t left, std::int32_t right, Merge merge) {
  if (2 * (pairs_ + 1) > slots_.size()) grow();
  Slot& slot = slots_[slot_of(key(left, right))];
  if (slot.pair == kEmpty) ++pairs_;
  slot = {key(left, right), merge};
  rank_limit_ = std::max(rank_limit_, static_cast<std::size_t>(merge.rank) + 1);
}

}  // namespace conclave::text
