#include "io/text_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "sys/testing.h"

namespace conclave::io {
namespace {

using conclave::testing::TempDir;

TEST(Utf8, EveryCodePointAndNoSurrogate) {
  const auto encode = [](std::uint32_t c) {
    std::string s;
    if (c < 0x80) return std::string(1, static_cast<char>(c));
    if (c < 0x800) {
      s += static_cast<char>(0xc0 | (c >> 6));
    } else {
      if (c < 0x10000) {
        s += static_cast<char>(0xe0 | (c >> 12));
      } else {
        s += static_cast<char>(0xf0 | (c >> 18));
        s += static_cast<char>(0x80 | ((c >> 12) & 0x3f));
      }
      s += static_cast<char>(0x80 | ((c >> 6) & 0x3f));
    }
    return s + static_cast<char>(0x80 | (c & 0x3f));
  };
  for (std::uint32_t c = 0; c < 0x120000; ++c) {
    const bool valid = c < 0x110000 && (c < 0xd800 || c > 0xdfff);
    const std::string text = "ab" + encode(c) + "c";
    ASSERT_EQ(find_bad_utf8(text).has_value(), !valid) << c;
    if (!valid) {
      ASSERT_EQ(*find_bad_utf8(text), 2u);
    }
  }
}

// All strings of one to three bytes, and four with leads of four: decoding what is accepted and
// encoding it again gives the same bytes, so nothing overlong passes.
TEST(Utf8, ShortStringsAgreeWithTheDefinition) {
  const auto valid = [](const unsigned char* s, int n) {
    for (int i = 0; i < n;) {
      std::uint32_t c = s[i];
      const int more = c < 0x80 ? 0 : c >> 5 == 6 ? 1 : c >> 4 == 14 ? 2 : c >> 3 == 30 ? 3 : -1;
      if (more < 0 || i + more >= n) return false;
      if (more > 0) c &= 0x3f >> more;
      for (int k = 1; k <= more; ++k) {
        if ((s[i + k] & 0xc0) != 0x80) return false;
        c = c << 6 | (s[i + k] & 0x3f);
      }
      constexpr std::uint32_t kLeast[] = {0, 0x80, 0x800, 0x10000};
      if (c < kLeast[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return false;
      i += more + 1;
    }
    return true;
  };
  unsigned char s[4];
  for (int n = 1; n <= 3; ++n) {
    for (std::uint32_t code = 0; code < 1u << (8 * n); ++code) {
      for (int i = 0; i < n; ++i) s[i] = static_cast<unsigned char>(code >> (8 * i));
      const std::string_view text(reinterpret_cast<char*>(s), static_cast<std::size_t>(n));
      ASSERT_EQ(!find_bad_utf8(text).has_value(), valid(s, n)) << code;
    }
  }
  for (int lead = 0xee; lead < 256; ++lead) {
    for (int second = 0; second < 256; ++second) {
      for (const int third : {0x7f, 0x80, 0xbf, 0xc0}) {
        for (const int fourth : {0x00, 0x7f, 0x80, 0xbf, 0xc0, 0xff}) {
          const int all[] = {lead, second, third, fourth};
          for (int i = 0; i < 4; ++i) s[i] = static_cast<unsigned char>(all[i]);
          ASSERT_EQ(!find_bad_utf8({reinterpret_cast<char*>(s), 4}).has_value(), valid(s, 4));
        }
      }
    }
  }
}

// The example of the Unicode standard, table 3-8, and Python's bytes.decode(errors="replace").
TEST(Utf8, ReplacesMaximalPieces) {
  const std::string r = "\xef\xbf\xbd";
  EXPECT_EQ(replace_bad_utf8("a\xf1\x80\x80\xe1\x80\xc2"
                             "b\x80"
                             "c\x80\xbf"
                             "d"),
            "a" + r + r + r + "b" + r + "c" + r + r + "d");
  EXPECT_EQ(replace_bad_utf8("\xed\xa0\x80"), r + r + r);
  EXPECT_EQ(replace_bad_utf8("\xe2\x82"), r);
  EXPECT_EQ(replace_bad_utf8("\xc0\xaf"
                             "x"),
            r + r + "x");
  EXPECT_EQ(replace_bad_utf8("h\xc3\xa9llo"), "h\xc3\xa9llo");
  EXPECT_EQ(replace_bad_utf8(""), "");
}

TEST(TextFile, SaysWhatIsNotText) {
  const TempDir dir;
  const auto read = [&](std::string_view content, const TextFileOptions& options = {}) {
    return read_text_file(dir.put("a.txt", content), options);
  };
  EXPECT_EQ(read("h\xc3\xa9llo\n"), "h\xc3\xa9llo\n");
  EXPECT_EQ(read("\xef\xbb\xbfmark"), "mark");
  const std::string path = dir / "a.txt";
  EXPECT_ERROR(read(""), ErrorKind::kBadFile, path + ": is empty");
  EXPECT_ERROR(read("\xef\xbb\xbf"), ErrorKind::kBadFile, "nothing but a byte order mark");
  EXPECT_ERROR(read(std::string_view("text\0more", 9)), ErrorKind::kBadFile,
               "NUL byte at offset 4");
  EXPECT_ERROR(read(std::string_view("\xff\xfet\0", 4)), ErrorKind::kBadFile, "UTF-16");
  EXPECT_ERROR(read("0123456789\xe9t\xe9"), ErrorKind::kBadFile, "byte 0xe9 at offset 10");
  EXPECT_ERROR(read("\xef\xbb\xbf"
                    "01\xe9"),
               ErrorKind::kBadFile, "offset 5");
  EXPECT_EQ(read("\xe9t\xe9", {.bad_utf8 = BadUtf8::kReplace}), "\xef\xbf\xbdt\xef\xbf\xbd");
  EXPECT_ERROR(read("0123456789", {.max_bytes = 9}), ErrorKind::kBadFile, "holds 10 bytes");
  EXPECT_ERROR(read_text_file(dir / "none"), ErrorKind::kNotFound, "none");
  EXPECT_ERROR(read_text_file(dir.path()), ErrorKind::kInvalidArgument, "directory");
  const std::string huge = dir.put("huge", "x");
  ASSERT_EQ(::truncate(huge.c_str(), off_t{1} << 40), 0);
  EXPECT_ERROR(read_text_file(huge), ErrorKind::kBadFile, huge);
}

}  // namespace
}  // namespace conclave::io
