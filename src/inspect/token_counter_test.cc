#include "inspect/token_counter.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <utility>

#include "base/rng.h"

namespace conclave::inspect {
namespace {

TEST(TokenCounter, CountsAsAMapDoes) {
  const Rng rng(11);
  TokenCounter counter;
  std::map<std::pair<std::int32_t, std::int32_t>, std::int64_t> expected;
  for (std::uint64_t i = 0; i < 60'000; ++i) {
    const auto expert = static_cast<std::int32_t>(rng.below(2 * i, 13));
    const auto token = static_cast<std::int32_t>(rng.below(2 * i + 1, 2000));
    counter.add(expert, token);
    ++expected[{expert, token}];
  }
  const auto entries = counter.sorted();
  ASSERT_EQ(entries.size(), expected.size());
  EXPECT_EQ(counter.size(), expected.size());
  std::size_t i = 0;
  for (const auto& [key, count] : expected) {
    EXPECT_EQ(entries[i].expert, key.first);
    EXPECT_EQ(entries[i].token, key.second);
    EXPECT_EQ(entries[i].count, count);
    EXPECT_EQ(counter.count(key.first, key.second), count);
    ++i;
  }
  EXPECT_EQ(counter.count(13, 0), 0);
}

TEST(TokenCounter, EmptyAndLargestIds) {
  TokenCounter counter;
  EXPECT_EQ(counter.count(0, 0), 0);
  EXPECT_TRUE(counter.sorted().empty());
  constexpr auto kMax = std::numeric_limits<std::int32_t>::max();
  counter.add(kMax, kMax);
  counter.add(0, 0);
  counter.add(kMax, kMax);
  EXPECT_EQ(counter.count(kMax, kMax), 2);
  EXPECT_EQ(counter.count(0, 0), 1);
}

}  // namespace
}  // namespace conclave::inspect
