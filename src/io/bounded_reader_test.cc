#include "io/bounded_reader.h"

#include "sys/testing.h"

namespace conclave::io {
namespace {

using conclave::testing::TempDir;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

TEST(BoundedReader, ReadsLittleEndian) {
  const std::string text("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0fxyz", 18);
  BoundedReader reader(bytes_of(text), "f");
  EXPECT_EQ(reader.u8("a"), 0x01);
  EXPECT_EQ(reader.u16("a"), 0x0302);
  EXPECT_EQ(reader.u32("a"), 0x07060504u);
  EXPECT_EQ(reader.u64("a"), 0x0f0e0d0c0b0a0908u);
  EXPECT_EQ(reader.text(2, 10, "a"), "xy");
  EXPECT_EQ(reader.remaining(), 1u);
}

TEST(BoundedReader, AlignsAndSkips) {
  const std::string text(100, 'a');
  BoundedReader reader(bytes_of(text), "f");
  reader.align(32, "pad");
  EXPECT_EQ(reader.offset(), 0u);
  reader.skip(1, "x");
  reader.align(32, "pad");
  EXPECT_EQ(reader.offset(), 32u);
  reader.skip(65, "x");
  EXPECT_ERROR(reader.align(32, "pad"), ErrorKind::kBadFile, "f: at byte 97: pad: needs 31");
  EXPECT_ERROR(reader.skip(~0ull, "x"), ErrorKind::kBadFile, "the file has 3 left");
}

TEST(BoundedReader, RefusesSizesBeforeMemoryIsTaken) {
  const std::string text(16, 'a');
  BoundedReader reader(bytes_of(text), "f");
  reader.skip(4, "x");
  EXPECT_ERROR(reader.text(1ull << 62, ~0ull, "name"), ErrorKind::kBadFile, "at byte 4: name");
  EXPECT_ERROR(reader.text(13, ~0ull, "name"), ErrorKind::kBadFile, "12 left");
  EXPECT_ERROR(reader.text(5, 4, "name"), ErrorKind::kBadFile, "more than the 4 allowed");
  EXPECT_ERROR(reader.expect_room(1ull << 61, 8, "list"), ErrorKind::kBadFile, "list");
  EXPECT_ERROR(reader.expect_room(1ull << 63, 2, "list"), ErrorKind::kBadFile, "list");
  reader.expect_room(3, 4, "list");
  EXPECT_EQ(reader.offset(), 4u);
  reader.skip(9, "x");
  EXPECT_ERROR(reader.u32("count"), ErrorKind::kBadFile, "at byte 13: count");
}

// The same bytes through a window on a file, at sizes around the window's.
TEST(BoundedReader, AFileReadsAsMemoryDoes) {
  const TempDir dir;
  std::string text(200'000, '\0');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7 + i / 256);
  const sys::File file(dir.put("f", text));
  for (const std::uint64_t piece : {1ull, 8ull, 65535ull, 65536ull, 65537ull, 150'000ull}) {
    BoundedReader memory(bytes_of(text), "f");
    BoundedReader window(file);
    while (memory.remaining() >= piece + 12) {
      ASSERT_EQ(memory.u32("a"), window.u32("a"));
      ASSERT_EQ(memory.text(piece, piece, "t"), window.text(piece, piece, "t"));
      memory.skip(std::min<std::uint64_t>(piece + 3, memory.remaining()), "s");
      window.skip(std::min<std::uint64_t>(piece + 3, window.remaining()), "s");
      ASSERT_EQ(memory.offset(), window.offset());
    }
    ASSERT_EQ(memory.remaining(), window.remaining());
    EXPECT_ERROR(window.text(window.remaining() + 1, ~0ull, "t"), ErrorKind::kBadFile, file.path());
  }
  EXPECT_ERROR(BoundedReader(file, 200'001), ErrorKind::kBadFile, "only 200000 bytes");
}

}  // namespace
}  // namespace conclave::io
