// The queue of a long merge: candidates (rank, position), lowest rank first and of equal ranks the
// leftmost. Candidates of a rank nearly always come from left to right, so each rank has a list
// that is read from its front; only a list that got one out of order becomes a heap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace conclave::text {

class RankQueue {
 public:
  // Ranks are below `ranks`. The queue must be empty.
  void prepare(std::size_t ranks);
  void push(std::uint32_t rank, std::uint32_t position);
  // False when empty.
  bool pop(std::uint32_t& rank, std::uint32_t& position);

 private:
  static constexpr std::uint32_t kNone = 0xffffffffu;
  struct List {
    std::uint32_t rank = 0;
    std::size_t read = 0;
    bool heap = false;
    std::vector<std::uint32_t> positions;
  };
  std::uint32_t take(List& list);

  std::vector<std::uint32_t> list_of_rank_;
  std::vector<List> lists_;
  std::vector<std::uint32_t> free_;    // lists that are not in use
  std::vector<std::uint32_t> active_;  // heap of the ranks that have a list
};

}  // namespace conclave::text
