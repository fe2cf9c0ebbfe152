#include "inspect/display_text.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "base/rng.h"

namespace conclave::inspect {
namespace {

TEST(DisplayText, TokensShowTheirWhiteSpace) {
  EXPECT_EQ(display_token(" the"), "\xe2\x90\xa3the");
  EXPECT_EQ(display_token("\n\t"), "\xe2\x86\xb5\xe2\x87\xa5");
  EXPECT_EQ(display_token("caf\xc3\xa9 \xe6\x97\xa5"), "caf\xc3\xa9\xe2\x90\xa3\xe6\x97\xa5");
  EXPECT_EQ(display_token(""), "");
}

TEST(DisplayText, BytesThatAreNoUtf8) {
  EXPECT_EQ(display_token("\xe6\x97"), "<0xE6><0x97>");
  EXPECT_EQ(display_token("a\xff"
                          "b"),
            "a<0xFF>b");
  EXPECT_EQ(display_token("\xc0\xaf"), "<0xC0><0xAF>");                      // overlong
  EXPECT_EQ(display_token("\xe0\x80\xaf"), "<0xE0><0x80><0xAF>");            // overlong
  EXPECT_EQ(display_token("\xed\xa0\x80"), "<0xED><0xA0><0x80>");            // surrogate
  EXPECT_EQ(display_token("\xf4\x90\x80\x80"), "<0xF4><0x90><0x80><0x80>");  // above U+10FFFF
  EXPECT_EQ(display_token("\xf0\x9f\x98\x80"), "\xf0\x9f\x98\x80");
  EXPECT_EQ(display_text("a\xff"), "a\xef\xbf\xbd");
}

TEST(DisplayText, CharactersThatCannotBeSeen) {
  EXPECT_EQ(display_token(std::string(1, '\0')), "<U+0000>");
  EXPECT_EQ(display_text("a\x1b[31mb"), "a<U+001B>[31mb");
  EXPECT_EQ(display_text("x\xe2\x80\xae"
                         "y"),
            "x<U+202E>y");  // right-to-left override
  EXPECT_EQ(display_name("a\xe2\x80\x8b"
                         "b"),
            "a<U+200B>b");
  EXPECT_EQ(display_text("a\xe2\x80\xa8"
                         "b"),
            "a<U+2028>b");
}

TEST(DisplayText, RunningTextKeepsLinesAndNamesDoNot) {
  EXPECT_EQ(display_text("a b\n\tc"), "a b\n\tc");
  EXPECT_EQ(display_name("a b\n\tc"), "a b  c");
}

TEST(DisplayText, AnyBytesBecomeJson) {
  const Rng rng(5);
  for (std::uint64_t n = 0; n < 300; ++n) {
    std::string bytes;
    for (std::uint64_t i = 0; i < n % 40; ++i) {
      // High bytes are frequent, so that sequences come close to being valid.
      const std::uint64_t word = rng.bits(n * 64 + i);
      bytes += static_cast<char>(word % 3 == 0 ? word >> 8 & 0x7f : 0x80 | (word >> 8 & 0x7f));
    }
    for (const std::string& text :
         {display_token(bytes), display_text(bytes), display_name(bytes)}) {
      EXPECT_NO_THROW(static_cast<void>(nlohmann::json(text).dump()));
    }
  }
}

}  // namespace
}  // namespace conclave::inspect
