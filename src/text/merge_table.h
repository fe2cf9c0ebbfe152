// The merges of a BPE vocabulary: which pairs of tokens join, in which order of preference, and
// into what.
#pragma once

#include <cstdint>
#include <vector>

namespace conclave::text {

class MergeTable {
 public:
  static constexpr std::uint32_t kNone = 0xffffffffu;

  MergeTable();
  void reserve(std::size_t merges);

  // The merge of the next rank. A pair that is there already gets the new rank.
  void add(std::int32_t left, std::int32_t right, std::int32_t merged);

  // Rank of a pair (lower joins first), or kNone.
  std::uint32_t rank(std::int32_t left, std::int32_t right) const;
  std::int32_t merged(std::uint32_t rank) const { return merged_[rank]; }
  std::size_t size() const { return merged_.size(); }

 private:
  struct Slot {
    std::uint64_t pair = kEmpty;
    std::uint32_t rank = kNone;
  };
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};
  static std::uint64_t key(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
           static_cast<std::uint32_t>(right);
  }
  std::size_t slot_of(std::uint64_t pair) const;
  void grow();

  std::uint64_t seed_;
  std::size_t pairs_ = 0;
  std::vector<Slot> slots_;
  std::vector<std::int32_t> merged_;  // by rank
};

}  // namespace conclave::text
