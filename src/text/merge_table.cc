#include "text/merge_table.h"

#include "text/hash.h"

namespace conclave::text {

MergeTable::MergeTable() : seed_(random_seed()), slots_(1024) {}

void MergeTable::reserve(std::size_t merges) {
  merged_.reserve(merges);
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

void MergeTable::add(std::int32_t left, std::int32_t right, std::int32_t merged) {
  if (2 * (pairs_ + 1) > slots_.size()) grow();
  Slot& slot = slots_[slot_of(key(left, right))];
  if (slot.pair == kEmpty) ++pairs_;
  slot = {key(left, right), static_cast<std::uint32_t>(merged_.size())};
  merged_.push_back(merged);
}

std::uint32_t MergeTable::rank(std::int32_t left, std::int32_t right) const {
  return slots_[slot_of(key(left, right))].rank;
}

}  // namespace conclave::text
