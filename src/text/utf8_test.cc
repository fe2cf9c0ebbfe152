#include "text/utf8.h"

#include <gtest/gtest.h>

#include <optional>

namespace conclave::text {
namespace {

// Table 3-7 of the Unicode standard, spelled out.
std::size_t well_formed_size(std::string_view s) {
  const auto in = [&](std::size_t i, unsigned low, unsigned high) {
    return i < s.size() && static_cast<unsigned char>(s[i]) >= low &&
           static_cast<unsigned char>(s[i]) <= high;
  };
  if (in(0, 0x00, 0x7f)) return 1;
  if (in(0, 0xc2, 0xdf) && in(1, 0x80, 0xbf)) return 2;
  if (in(0, 0xe0, 0xe0) && in(1, 0xa0, 0xbf) && in(2, 0x80, 0xbf)) return 3;
  if (in(0, 0xe1, 0xec) && in(1, 0x80, 0xbf) && in(2, 0x80, 0xbf)) return 3;
  if (in(0, 0xed, 0xed) && in(1, 0x80, 0x9f) && in(2, 0x80, 0xbf)) return 3;
  if (in(0, 0xee, 0xef) && in(1, 0x80, 0xbf) && in(2, 0x80, 0xbf)) return 3;
  if (in(0, 0xf0, 0xf0) && in(1, 0x90, 0xbf) && in(2, 0x80, 0xbf) && in(3, 0x80, 0xbf)) return 4;
  if (in(0, 0xf1, 0xf3) && in(1, 0x80, 0xbf) && in(2, 0x80, 0xbf) && in(3, 0x80, 0xbf)) return 4;
  if (in(0, 0xf4, 0xf4) && in(1, 0x80, 0x8f) && in(2, 0x80, 0xbf) && in(3, 0x80, 0xbf)) return 4;
  return 0;
}

TEST(Utf8, EveryCodePoint) {
  for (char32_t value = 0; value <= 0x10ffff; ++value) {
    if (value >= 0xd800 && value <= 0xdfff) continue;
    std::string text;
    append_utf8(text, value);
    ASSERT_EQ(well_formed_size(text), text.size()) << static_cast<std::uint32_t>(value);
    const Utf8Char forward = decode_utf8(text, 0);
    ASSERT_EQ(forward.value, value);
    ASSERT_EQ(forward.size, text.size());
    const Utf8Char backward = decode_utf8_before("x" + text, text.size() + 1);
    ASSERT_EQ(backward.value, value);
    ASSERT_EQ(backward.size, text.size());
    ASSERT_EQ(unfinished_utf8(text), 0u);
    for (std::size_t cut = 1; cut < text.size(); ++cut) {
      ASSERT_EQ(unfinished_utf8("x" + text.substr(0, cut)), cut);
    }
  }
}

TEST(Utf8, EverySequenceOfThreeBytesAndTheEdgesOfFour) {
  std::string s(3, '\0');
  for (int i = 0; i < 1 << 24; ++i) {
    s[0] = static_cast<char>(i >> 16);
    s[1] = static_cast<char>(i >> 8);
    s[2] = static_cast<char>(i);
    const std::size_t expected = well_formed_size(s);
    const Utf8Char found = decode_utf8(s, 0);
    ASSERT_EQ(found.size, expected == 0 ? 1 : expected) << i;
    ASSERT_EQ(found.value == kInvalidChar, expected == 0) << i;
  }
  for (const unsigned lead : {0xf0u, 0xf1u, 0xf3u, 0xf4u, 0xf5u, 0xf8u, 0xffu}) {
    for (unsigned second = 0x70; second < 0xd0; ++second) {
      for (const unsigned third : {0x7fu, 0x80u, 0xbfu, 0xc0u}) {
        for (const unsigned fourth : {0x7fu, 0x80u, 0xbfu, 0xc0u}) {
          const std::string four = {static_cast<char>(lead), static_cast<char>(second),
                                    static_cast<char>(third), static_cast<char>(fourth)};
          ASSERT_EQ(decode_utf8(four, 0).value == kInvalidChar, well_formed_size(four) != 4);
        }
      }
    }
  }
}

TEST(Utf8, ReplacesMaximalParts) {
  const std::string r(kReplacement);
  EXPECT_EQ(to_valid_utf8("abc"), "abc");
  EXPECT_EQ(to_valid_utf8("\xff"), r);
  // The standard's own examples (tables 3-8 to 3-11).
  EXPECT_EQ(to_valid_utf8("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41"),
            r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(to_valid_utf8("\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41"),
            r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(to_valid_utf8("\xf4\x91\x92\x93\xff\x41\x80\xbf\x42"),
            r + r + r + r + r + "A" + r + r + "B");
  EXPECT_EQ(to_valid_utf8("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41"), r + r + r + r + "A");
  EXPECT_EQ(to_valid_utf8("x\xe3\x81"), "x" + r);
}

TEST(Utf8, PrefixEndsAtTheFirstBadByte) {
  EXPECT_EQ(utf8_prefix(""), 0u);
  EXPECT_EQ(utf8_prefix("ab\xc3\xa9z"), 5u);
  EXPECT_EQ(utf8_prefix("ab\xc3z"), 2u);
  EXPECT_EQ(utf8_prefix("\x80"), 0u);
  EXPECT_FALSE(is_utf8("ab\xe3\x81"));
}

}  // namespace
}  // namespace conclave::text
