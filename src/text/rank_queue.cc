#include "text/rank_queue.h"

#include <algorithm>
#include <functional>

namespace conclave::text {

void RankQueue::prepare(std::size_t ranks) {
  if (list_of_rank_.size() < ranks) list_of_rank_.resize(ranks, kNone);
}

void RankQueue::push(std::uint32_t rank, std::uint32_t position) {
  std::uint32_t& index = list_of_rank_[rank];
  if (index == kNone) {
    if (free_.empty()) {
      free_.push_back(static_cast<std::uint32_t>(lists_.size()));
      lists_.emplace_back();
    }
    index = free_.back();
    free_.pop_back();
    lists_[index].rank = rank;
    active_.push_back(rank);
    std::push_heap(active_.begin(), active_.end(), std::greater<>());
  }
  List& list = lists_[index];
  auto& positions = list.positions;
  if (!list.heap && !positions.empty() && position < positions.back()) {
    positions.erase(positions.begin(), positions.begin() + static_cast<std::ptrdiff_t>(list.read));
    list.read = 0;
    list.heap = true;  // ascending numbers are a heap with the smallest on top
  }
  positions.push_back(position);
  if (list.heap) std::push_heap(positions.begin(), positions.end(), std::greater<>());
}

std::uint32_t RankQueue::take(List& list) {
  auto& positions = list.positions;
  if (!list.heap) return positions[list.read++];
  const std::uint32_t position = positions.front();
  std::pop_heap(positions.begin(), positions.end(), std::greater<>());
  positions.pop_back();
  return position;
}

bool RankQueue::pop(std::uint32_t& rank, std::uint32_t& position) {
  if (active_.empty()) return false;
  rank = active_.front();
  const std::uint32_t index = list_of_rank_[rank];
  List& list = lists_[index];
  position = take(list);
  if (list.read == list.positions.size()) {
    list.positions.clear();
    list.read = 0;
    list.heap = false;
    list_of_rank_[rank] = kNone;
    free_.push_back(index);
    std::pop_heap(active_.begin(), active_.end(), std::greater<>());
    active_.pop_back();
  }
  return true;
}

}  // namespace conclave::text
