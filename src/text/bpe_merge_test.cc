#include "text/bpe_merge.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace conclave::text {
namespace {

// The definition: again and again the leftmost pair of the lowest rank.
std::vector<std::int32_t> by_definition(const MergeTable& table, std::vector<std::int32_t> s) {
  while (true) {
    std::uint32_t best = MergeTable::kNone;
    std::size_t where = 0;
    for (std::size_t i = 0; i + 1 < s.size(); ++i) {
      const std::uint32_t rank = table.rank(s[i], s[i + 1]);
      if (rank < best) {
        best = rank;
        where = i;
      }
    }
    if (best == MergeTable::kNone) return s;
    s[where] = table.find(s[where], s[where + 1]).merged;
    s.erase(s.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
}

TEST(BpeMerge, EqualsItsDefinition) {
  const Rng rng(11);
  std::uint64_t counter = 0;
  for (int round = 0; round < 400; ++round) {
    // Merges in any order, not only such as training would give, some of equal rank; ids 0..3 are
    // the letters.
    MergeTable table;
    std::int32_t next = 4;
    for (std::uint64_t n = rng.below(counter++, 30); n > 0; --n) {
      const auto bound = static_cast<std::uint64_t>(next) + 3;
      const auto left = static_cast<std::int32_t>(rng.below(counter++, bound));
      const auto right = static_cast<std::int32_t>(rng.below(counter++, bound));
      const auto rank = static_cast<std::uint32_t>(rng.below(counter++, 20));
      table.add(left, right, {rank, next++});
    }
    BpeMergeScratch scratch;
    for (const std::uint64_t most : {0u, 1u, 2u, 10u, 48u, 49u, 50u, 300u}) {
      std::vector<std::int32_t> s(rng.below(counter++, most + 1) / 2 + (most + 1) / 2);
      const std::uint64_t letters = 1 + rng.below(counter++, 4);
      for (auto& id : s) id = static_cast<std::int32_t>(rng.below(counter++, letters));
      const auto expected = by_definition(table, s);
      merge_symbols(table, s, scratch);
      ASSERT_EQ(s, expected) << "round " << round << " length " << most;
    }
  }
}

TEST(BpeMerge, ALaterMergeOfTheSamePairCounts) {
  MergeTable table;
  table.add(0, 1, {0, 5});
  table.add(1, 2, {1, 6});
  table.add(0, 1, {2, 7});
  std::vector<std::int32_t> s{0, 1, 2};
  BpeMergeScratch scratch;
  merge_symbols(table, s, scratch);
  EXPECT_EQ(s, (std::vector<std::int32_t>{0, 6}));
}

}  // namespace
}  // namespace conclave::text
