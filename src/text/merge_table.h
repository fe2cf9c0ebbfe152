// The merges of a BPE vocabulary: which pairs of tokens join, in which order of preference, and
// into what.
#pragma once

#include <cstdint>
#include <vector>

namespace conclave::text {

class MergeTable {
 public:
  static constexpr std::uint32_t kNone = 0xffffffffu;

  struct Merge {
    std::uint32_t rank = kNone;  // lower joins first; several pairs may share one
    std::int32_t merged = -1;
  };

  MergeTable();
  void reserve(std::size_t merges);

  // A pair that is there already is replaced.
  void add(std::int32_t left, std::int32_t right, Merge merge);
  // The merge of a pair; rank kNone where there is none.
  Merge find(std::int32_t left, std::int32_t right) const {
    return slots_[slot_of(key(left, right))].merge;
  }
  std::uint32_t rank(std::int32_t left, std::int32_t right) const { return find(left, right).rank; }
  // Largest rank + 1.
  std::size_t rank_limit() const { return rank_limit_; }

 private:
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};
  struct Slot {
    std::uint64_t pair = kEmpty;
    Merge merge;
  };
  static std::uint64_t key(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
           static_cast<std::uint32_t>(right);
  }
  std::size_t slot_of(std::uint64_t pair) const;
  void grow();

  std::uint64_t seed_;
  std::size_t pairs_ = 0;
  std::size_t rank_limit_ = 0;
  std::vector<Slot> slots_;
};

}  // namespace conclave::text
