#include "text/regex.h"

#include <gtest/gtest.h>

#include <chrono>

#include "base/error.h"
#include "text/regex_syntax.h"
#include "text/utf8.h"

namespace conclave::text {
namespace {

std::vector<std::string> split(std::string_view pattern, std::string_view text, bool matches_only) {
  const Regex regex(pattern);
  RegexScratch scratch;
  std::vector<RegexPart> parts;
  regex.split(text, 0, scratch, parts);
  std::vector<std::string> out;
  std::uint32_t at = 0;
  for (const RegexPart& part : parts) {
    EXPECT_EQ(part.begin, at);
    at = part.end;
    if (part.match || !matches_only) {
      out.emplace_back(text.substr(part.begin, part.end - part.begin));
    }
  }
  EXPECT_EQ(at, text.size());
  return out;
}
using Strings = std::vector<std::string>;

// How many characters a pattern matches on its own, among all of Unicode.
int members(std::string_view pattern) {
  std::string all;
  for (char32_t c = 0; c <= 0x10ffff; ++c) {
    if (c < 0xd800 || c > 0xdfff) append_utf8(all, c);
  }
  const Regex regex(pattern);
  RegexScratch scratch;
  std::vector<RegexPart> parts;
  regex.split(all, 0, scratch, parts);
  int n = 0;
  for (const RegexPart& part : parts) n += part.match ? 1 : 0;
  return n;
}

TEST(Regex, CutsTextAtMatches) {
  EXPECT_EQ(split("b+", "abba", false), (Strings{"a", "bb", "a"}));
  EXPECT_EQ(split("x", "abba", false), (Strings{"abba"}));
  EXPECT_EQ(split("x", "", false), (Strings{}));
  EXPECT_EQ(split(R"(\s+(?!\S)|\s+|\S+)", "a   b  ", true), (Strings{"a", "  ", " ", "b", "  "}));
}

TEST(Regex, EmptyMatchesDoNotLoop) {
  EXPECT_EQ(split("x*", "axb", true), (Strings{"", "x", ""}));
  EXPECT_EQ(split("", "\xc3\xa9z", false), (Strings{"", "\xc3\xa9", "", "z", ""}));
}

TEST(Regex, BytesThatAreNotUtf8MatchNothing) {
  EXPECT_EQ(split(".",
                  "a\xff\xfe"
                  "b\xc3",
                  false),
            (Strings{"a", "\xff\xfe", "b", "\xc3"}));
}

// The numbers are those of Oniguruma 6.9.10, which Hugging Face tokenizers 0.22.2 carries.
TEST(Regex, ClassesAreThoseOfUnicode16) {
  EXPECT_EQ(members(R"(\p{L})"), 141028);
  EXPECT_EQ(members(R"(\p{N})"), 1911);
  EXPECT_EQ(members(R"(\d)"), 760);
  EXPECT_EQ(members(R"(\s)"), 25);
  EXPECT_EQ(members(R"(\w)"), 144671);
  EXPECT_EQ(members(R"(\W)"), 1112064 - 144671);
  EXPECT_EQ(members(R"(\p{M})"), 2501);
  EXPECT_EQ(members(R"(\p{P})"), 855);
  EXPECT_EQ(members(R"(\p{S})"), 8514);
  EXPECT_EQ(members(R"([[:punct:]])"), 9369);
  EXPECT_EQ(members(R"(\p{Han})"), 99030);
  EXPECT_EQ(members(R"(\p{Hiragana})"), 381);
  EXPECT_EQ(members(R"(\h)"), 22);
  EXPECT_EQ(members(R"(\p{Cn})"), 819533);
}

TEST(Regex, ClassesNestAndIntersect) {
  const int letters = 141028;
  const int han_letters = members(R"([\p{L}&&\p{Han}])");
  EXPECT_GT(han_letters, 90000);
  EXPECT_EQ(members(R"([\p{L}&&[^\p{Han}]])"), letters - han_letters);
  EXPECT_EQ(members(R"([^\p{L}&&\p{Han}])"), 1112064 - han_letters);
  EXPECT_EQ(members(R"([a-c[x-z]])"), 6);
  EXPECT_EQ(members(R"([^\P{L}])"), letters);
  EXPECT_EQ(members(R"([\P{L}a])"), 1112064 - letters + 1);
  EXPECT_EQ(members(R"([\S\s])"), 1112064);
}

TEST(Regex, SyntaxOfOniguruma) {
  EXPECT_EQ(split(R"(\u4e00|\x41|\v)", "A\xe4\xb8\x80\x0b", true),
            (Strings{"A", "\xe4\xb8\x80", "\x0b"}));
  EXPECT_EQ(split("a{,2}b", "aaab", true), (Strings{"aab"}));
  EXPECT_EQ(split("(?m:.)b", "\nb", true), (Strings{"\nb"}));
  EXPECT_EQ(split("^a", "a\na", true), (Strings{"a", "a"}));
  EXPECT_EQ(split("[]a]", "]a", true), (Strings{"]", "a"}));
  EXPECT_EQ(split("(?<x>a)\\k<x>", "aa", true), (Strings{"aa"}));
  EXPECT_EQ(split("(?i:'S|k)", "'\xc5\xbf\xe2\x84\xaa", true),
            (Strings{"'\xc5\xbf", "\xe2\x84\xaa"}));  // long s, Kelvin sign
  EXPECT_EQ(split(R"(\bb)", "ab b", true), (Strings{"b"}));
}

TEST(Regex, RefusesWhatIsBrokenOrUnknown) {
  const auto kind = [](std::string_view pattern) {
    try {
      Regex regex(pattern);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::kInterrupted;
  };
  for (const char* bad : {"(", "[a", "a\\", "\\p{NoSuchThing}", "[b-a]", "\\x{110000}", "\\u12",
                          "*", "\\p{", "\xff", "(?<n>a", "[a&&]"}) {
    EXPECT_EQ(kind(bad), ErrorKind::kBadFile) << bad;
  }
  for (const char* unknown : {"\\g<1>", "(?~a)", "a{2}+", "(?x: a)", "\\xff", "\\y"}) {
    EXPECT_EQ(kind(unknown), ErrorKind::kUnsupported) << unknown;
  }
  EXPECT_EQ(kind(std::string(100'000, '[')), ErrorKind::kUnsupported);
  EXPECT_EQ(kind(std::string(1000, '[')), ErrorKind::kUnsupported);
  EXPECT_EQ(kind(std::string(1000, '(')), ErrorKind::kBadFile);
}

TEST(Regex, LongRunsNeedNoStack) {
  const std::string spaces(1 << 22, ' ');
  EXPECT_EQ(split(R"(\s+(?!\S)|\s+)", spaces + "x", true).size(), 2u);
  const std::string upper(1 << 22, 'A');
  EXPECT_EQ(split(R"([\p{Lu}\p{Lo}]*[\p{Ll}\p{Lo}]+|[\p{Lu}\p{Lo}]+)", upper, true).size(), 1u);
  EXPECT_EQ(split(R"((?:a|b|[^c])+)", std::string(1 << 20, 'a'), true).size(), 1u);
}

TEST(Regex, CatastrophesEndInAnError) {
  const Regex regex("(a+)+$");
  RegexScratch scratch;
  std::vector<RegexPart> parts;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THROW(regex.split(std::string(5000, 'a') + "b", 0, scratch, parts), Error);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

}  // namespace
}  // namespace conclave::text
