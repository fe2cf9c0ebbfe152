#include "text/bpe_merge.h"

#include <algorithm>
#include <functional>

namespace conclave::text {
namespace {

constexpr std::uint32_t kNone = MergeTable::kNone;
// Up to here a search through all ranks for each merge is faster than a queue.
constexpr std::size_t kShort = 48;
// Room above which the queue's memory is given back after use.
constexpr std::size_t kKeptSymbols = 1 << 20;

// ranks[i] is the rank of the pair (symbols[i], symbols[i + 1]).
void merge_short(const MergeTable& table, std::vector<std::int32_t>& symbols,
                 std::vector<std::uint32_t>& ranks) {
  ranks.clear();
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
    ranks.push_back(table.rank(symbols[i], symbols[i + 1]));
  }
  while (!ranks.empty()) {
    const auto best = std::min_element(ranks.begin(), ranks.end());
    if (*best == kNone) return;
    const auto i = static_cast<std::size_t>(best - ranks.begin());
    symbols[i] = table.merged(*best);
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    ranks.erase(best);
    if (i < ranks.size()) ranks[i] = table.rank(symbols[i], symbols[i + 1]);
    if (i > 0) ranks[i - 1] = table.rank(symbols[i - 1], symbols[i]);
  }
}

// Candidates are numbers rank << 32 | position, so that the smallest is the next to merge; one is
// stale when ranks[position] has changed. Those of the beginning are sorted once and read in order,
// those that merges create go through a heap.
class LongMerge {
 public:
  LongMerge(const MergeTable& table, std::vector<std::int32_t>& symbols, BpeMergeScratch& scratch)
      : table_(table), symbols_(symbols), scratch_(scratch) {}

  void run() {
    start();
    std::size_t read = 0;
    auto& initial = scratch_.initial;
    auto& queue = scratch_.queue;
    while (true) {
      std::uint64_t candidate = 0;
      if (!queue.empty() && (read == initial.size() || queue.front() < initial[read])) {
        candidate = queue.front();
        std::pop_heap(queue.begin(), queue.end(), std::greater<>());
        queue.pop_back();
      } else if (read < initial.size()) {
        candidate = initial[read++];
      } else {
        break;
      }
      const auto position = static_cast<std::uint32_t>(candidate);
      if (scratch_.ranks[position] == candidate >> 32) merge_at(position);
    }
    collect();
  }

 private:
  void start() {
    const std::size_t n = symbols_.size();
    scratch_.ranks.resize(n);
    scratch_.next.resize(n);
    scratch_.previous.resize(n);
    scratch_.initial.clear();
    scratch_.queue.clear();
    for (std::uint32_t i = 0; i < n; ++i) {
      scratch_.previous[i] = i == 0 ? kNone : i - 1;
      scratch_.next[i] = i + 1 < n ? i + 1 : kNone;
      scratch_.ranks[i] = i + 1 < n ? table_.rank(symbols_[i], symbols_[i + 1]) : kNone;
      if (scratch_.ranks[i] != kNone) {
        scratch_.initial.push_back(static_cast<std::uint64_t>(scratch_.ranks[i]) << 32 | i);
      }
    }
    if (!std::is_sorted(scratch_.initial.begin(), scratch_.initial.end())) {
      std::sort(scratch_.initial.begin(), scratch_.initial.end());
    }
  }

  void merge_at(std::uint32_t position) {
    const std::uint32_t right = scratch_.next[position];
    const std::uint32_t after = scratch_.next[right];
    const std::uint32_t before = scratch_.previous[position];
    symbols_[position] = table_.merged(scratch_.ranks[position]);
    scratch_.ranks[right] = kNone;
    scratch_.next[position] = after;
    if (after != kNone) scratch_.previous[after] = position;
    renew(position, after);
    if (before != kNone) renew(before, position);
  }

  void renew(std::uint32_t position, std::uint32_t next) {
    const std::uint32_t rank =
        next == kNone ? kNone : table_.rank(symbols_[position], symbols_[next]);
    scratch_.ranks[position] = rank;
    if (rank == kNone) return;
    scratch_.queue.push_back(static_cast<std::uint64_t>(rank) << 32 | position);
    std::push_heap(scratch_.queue.begin(), scratch_.queue.end(), std::greater<>());
  }

  void collect() {
    std::size_t n = 0;
    for (std::uint32_t i = 0; i != kNone; i = scratch_.next[i]) symbols_[n++] = symbols_[i];
    symbols_.resize(n);
  }

  const MergeTable& table_;
  std::vector<std::int32_t>& symbols_;
  BpeMergeScratch& scratch_;
};

}  // namespace

void merge_symbols(const MergeTable& table, std::vector<std::int32_t>& symbols,
                   BpeMergeScratch& scratch) {
  if (symbols.size() < 2) return;
  if (symbols.size() <= kShort) {
    merge_short(table, symbols, scratch.ranks);
    return;
  }
  const std::size_t n = symbols.size();
  LongMerge(table, symbols, scratch).run();
  if (n > kKeptSymbols) scratch = {};
}

}  // namespace conclave::text
