#include "text/pattern_set.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace conclave::text {
namespace {

std::vector<PatternSet::Match> brute_force(const std::vector<std::string>& patterns,
                                           std::string_view text) {
  std::vector<PatternSet::Match> out;
  for (std::uint32_t i = 0; i < text.size();) {
    std::uint32_t best = 0;
    std::uint32_t which = 0;
    for (std::uint32_t p = 0; p < patterns.size(); ++p) {
      if (patterns[p].size() > best && text.substr(i).starts_with(patterns[p])) {
        best = static_cast<std::uint32_t>(patterns[p].size());
        which = p;
      }
    }
    if (best > 0) {
      out.push_back({i, i + best, which});
      i += best;
    } else {
      ++i;
    }
  }
  return out;
}

TEST(PatternSet, FindsTheLongestOfTheLeftmost) {
  const Rng rng(7);
  std::uint64_t counter = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> patterns;
    const auto word = [&](std::uint64_t most) {
      std::string s(rng.below(counter++, most + 1), ' ');
      for (char& c : s) c = static_cast<char>('a' + rng.below(counter++, 3));
      return s;
    };
    for (std::uint64_t n = rng.below(counter++, 8); n > 0; --n) patterns.push_back(word(5));
    const std::string text = word(40);
    const auto expected = brute_force(patterns, text);
    const auto found = PatternSet(patterns).find(text);
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      ASSERT_EQ(found[i].begin, expected[i].begin);
      ASSERT_EQ(found[i].end, expected[i].end);
      ASSERT_EQ(found[i].pattern, expected[i].pattern);
    }
  }
}

TEST(PatternSet, NothingToFind) {
  EXPECT_TRUE(PatternSet().find("abc").empty());
  const std::vector<std::string> only_empty{""};
  EXPECT_TRUE(PatternSet(only_empty).empty());
}

}  // namespace
}  // namespace conclave::text
