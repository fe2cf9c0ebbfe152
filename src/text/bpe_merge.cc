#include "text/bpe_merge.h"

#include <algorithm>

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
    symbols[i] = table.find(symbols[i], symbols[i + 1]).merged;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    ranks.erase(best);
    if (i < ranks.size()) ranks[i] = table.rank(symbols[i], symbols[i + 1]);
    if (i > 0) ranks[i - 1] = table.rank(symbols[i - 1], symbols[i]);
  }
}

// A candidate is stale when ranks[position] has changed since.
class LongMerge {
 public:
  LongMerge(const MergeTable& table, std::vector<std::int32_t>& symbols, BpeMergeScratch& scratch,
            const std::vector<bool>& watched)
      : table_(table), symbols_(symbols), scratch_(scratch), watched_(watched) {}

  void run() {
    start();
    std::uint32_t rank = 0;
    std::uint32_t position = 0;
    while (scratch_.queue.pop(rank, position)) {
      if (scratch_.ranks[position] == rank) merge_at(position);
    }
    collect();
  }

 private:
  void start() {
    const std::size_t n = symbols_.size();
    scratch_.ranks.resize(n);
    scratch_.next.resize(n);
    scratch_.previous.resize(n);
    scratch_.merged.resize(n);
    scratch_.queue.prepare(table_.rank_limit());
    for (std::uint32_t i = 0; i < n; ++i) {
      scratch_.previous[i] = i == 0 ? kNone : i - 1;
      scratch_.next[i] = i + 1 < n ? i + 1 : kNone;
      renew(i, scratch_.next[i]);
    }
  }

  void merge_at(std::uint32_t position) {
    const std::uint32_t right = scratch_.next[position];
    const std::uint32_t after = scratch_.next[right];
    const std::uint32_t before = scratch_.previous[position];
    symbols_[position] = scratch_.merged[position];
    scratch_.ranks[right] = kNone;
    scratch_.next[position] = after;
    if (after != kNone) scratch_.previous[after] = position;
    if (before != kNone) renew(before, position);
    renew(position, after);
  }

  void renew(std::uint32_t position, std::uint32_t next) {
    MergeTable::Merge merge;
    if (next != kNone) merge = table_.find(symbols_[position], symbols_[next]);
    scratch_.ranks[position] = merge.rank;
    if (merge.rank == kNone) return;
    scratch_.merged[position] = merge.merged;
    scratch_.queue.push(merge.rank, position);
    if (!watched_.empty() && watched_[static_cast<std::size_t>(merge.merged)]) {
      scratch_.made_from[merge.merged] = {symbols_[position], symbols_[next]};
    }
  }

  void collect() {
    std::size_t n = 0;
    for (std::uint32_t i = 0; i != kNone; i = scratch_.next[i]) symbols_[n++] = symbols_[i];
    symbols_.resize(n);
  }

  const MergeTable& table_;
  std::vector<std::int32_t>& symbols_;
  BpeMergeScratch& scratch_;
  const std::vector<bool>& watched_;
};

}  // namespace

void merge_symbols(const MergeTable& table, std::vector<std::int32_t>& symbols,
                   BpeMergeScratch& scratch, const std::vector<bool>& watched) {
  if (symbols.size() < 2) return;
  if (symbols.size() <= kShort && watched.empty()) {
    merge_short(table, symbols, scratch.ranks);
    return;
  }
  const std::size_t n = symbols.size();
  LongMerge(table, symbols, scratch, watched).run();
  if (n > kKeptSymbols) {
    auto made_from = std::move(scratch.made_from);
    scratch = {};
    scratch.made_from = std::move(made_from);
  }
}

}  // namespace conclave::text
