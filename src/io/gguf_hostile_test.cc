// GGUF files that were cut, flipped or made to hurt. The cases repeat published failures of other
// readers: sizes that wrap, alignments of zero, types out of range, offsets beyond the file.
#include <gtest/gtest.h>

#include <cstring>

#include "io/gguf.h"
#include "io/testing.h"
#include "sys/testing.h"

namespace conclave::io {
namespace {

using conclave::testing::slurp;
using conclave::testing::TempDir;

// Builds files byte by byte, so that wrong ones can be built too.
class Bytes {
 public:
  template <class T>
  Bytes& put(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof(T));
    return *this;
  }
  Bytes& u32(std::uint32_t value) { return put(value); }
  Bytes& u64(std::uint64_t value) { return put(value); }
  Bytes& raw(std::string_view value) {
    text_ += value;
    return *this;
  }
  Bytes& str(std::string_view value) { return u64(value.size()).raw(value); }
  Bytes& head(std::uint64_t n_tensors, std::uint64_t n_keys) {
    return u32(0x46554747).u32(3).u64(n_tensors).u64(n_keys);
  }
  Bytes& tensor(std::string_view name, std::vector<std::uint64_t> ne, std::uint32_t type,
                std::uint64_t offset) {
    str(name).u32(static_cast<std::uint32_t>(ne.size()));
    for (const std::uint64_t n : ne) u64(n);
    return u32(type).u64(offset);
  }
  Bytes& data(std::size_t bytes) {
    text_.resize((text_.size() + 31) / 32 * 32, '\0');
    text_.append(bytes, '\x11');
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// Parses from memory and touches what was promised. False where it was refused.
bool accepts(const std::string& text) {
  try {
    BoundedReader reader(std::as_bytes(std::span(text)), "x.gguf");
    const GgufHeader header = parse_gguf(reader);
    std::uint64_t sum = 0;
    for (const GgufTensor& tensor : header.tensors) {
      EXPECT_LE(tensor.offset, text.size());
      EXPECT_LE(tensor.bytes, text.size() - tensor.offset);
      EXPECT_FALSE(__builtin_add_overflow(sum, tensor.bytes, &sum));
      EXPECT_GE(tensor.count(), 0);
    }
    EXPECT_LE(sum, text.size());
    return true;
  } catch (const Error& error) {
    EXPECT_TRUE(error.kind() == ErrorKind::kBadFile || error.kind() == ErrorKind::kUnsupported);
    EXPECT_TRUE(error.message().starts_with("x.gguf: ")) << error.message();
    EXPECT_LT(error.message().size(), 2000u);
    return false;
  }
}

std::string valid_file() {
  Bytes file;
  file.head(2, 4);
  file.str("general.architecture").u32(8).str("llama");
  file.str("n").u32(4).u32(7);
  file.str("flag").u32(7).put<std::uint8_t>(1);
  file.str("list").u32(9).u32(8).u64(2).str("a").str("bc");
  file.tensor("w", {32, 2}, 8, 0);  // Q8_0: 68 bytes
  file.tensor("norm", {4}, 0, 96);  // F32
  return file.data(96 + 16).text();
}

TEST(GgufHostile, CutAtEveryByte) {
  const std::string good = valid_file();
  ASSERT_TRUE(accepts(good));
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(accepts(good.substr(0, size))) << size;
  }
  EXPECT_TRUE(accepts(good + "trailing bytes are padding"));
}

TEST(GgufHostile, EveryBitOfTheHeader) {
  const std::string good = valid_file();
  int refused = 0;
  const std::size_t bits = (good.size() - 112) * 8;
  for (std::size_t bit = 0; bit < bits; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    if (!accepts(bad)) ++refused;
  }
  EXPECT_GT(refused, static_cast<int>(bits / 2));
}

// A valid file whose integer fields are given by `field(number, usual value)`.
template <class Field>
std::string file_with(const Field& field) {
  int next = 0;
  const auto u64 = [&](std::uint64_t usual) { return field(next++, usual); };
  const auto u32 = [&](std::uint32_t usual) {
    return static_cast<std::uint32_t>(field(next++, usual));
  };
  Bytes file;
  file.u32(u32(0x46554747)).u32(u32(3)).u64(u64(1)).u64(u64(2));
  file.u64(u64(17)).raw("general.alignment");
  file.u32(u32(4)).u32(u32(32));
  file.str("list").u32(u32(9)).u32(u32(0)).u64(u64(3)).raw("\1\2\3");
  file.u64(u64(1)).raw("w").u32(u32(2)).u64(u64(32)).u64(u64(2)).u32(u32(8)).u64(u64(0));
  EXPECT_EQ(next, 16);
  return file.data(200).text();
}

// Every pair of integer fields takes the values at which sizes wrap.
TEST(GgufHostile, IntegerFieldsAtTheirEdges) {
  const std::uint64_t edges[] = {0,          1,
                                 2,          31,
                                 32,         64,
                                 255,        (1u << 31) - 1,
                                 1u << 31,   0xffffffffu,
                                 1ull << 32, 1ull << 58,
                                 1ull << 62, (1ull << 63) - 1,
                                 1ull << 63, ~0ull - 31,
                                 ~0ull};
  ASSERT_TRUE(accepts(file_with([](int, std::uint64_t usual) { return usual; })));
  int accepted = 0;
  int count = 0;
  for (int one = 0; one < 16; ++one) {
    for (int other = one + 1; other < 16; ++other) {
      for (const std::uint64_t a : edges) {
        for (const std::uint64_t b : edges) {
          ++count;
          if (accepts(file_with([&](int number, std::uint64_t usual) {
                return number == one ? a : number == other ? b : usual;
              }))) {
            ++accepted;
          }
        }
      }
    }
  }
  EXPECT_GT(accepted, 100);
  EXPECT_LT(accepted, count / 20);
}

TEST(GgufHostile, SizesThatWrap) {
  const auto with_tensor = [](std::vector<std::uint64_t> ne, std::uint32_t type,
                              std::uint64_t offset) {
    return Bytes().head(1, 0).tensor("w", std::move(ne), type, offset).data(64).text();
  };
  EXPECT_TRUE(accepts(with_tensor({16}, 0, 0)));
  EXPECT_TRUE(accepts(with_tensor({}, 0, 32)));
  EXPECT_FALSE(accepts(with_tensor({17}, 0, 0)));
  EXPECT_FALSE(accepts(with_tensor({16}, 0, 32)));
  EXPECT_FALSE(accepts(with_tensor({8}, 0, 4)));                       // unaligned
  EXPECT_FALSE(accepts(with_tensor({1ull << 32, 1ull << 32}, 0, 0)));  // product is 0
  EXPECT_FALSE(accepts(with_tensor({1ull << 62}, 0, 0)));              // x 4 is 0
  EXPECT_FALSE(accepts(with_tensor({1ull << 63}, 24, 0)));             // negative
  EXPECT_FALSE(accepts(with_tensor({~0ull}, 24, 0)));                  // -1
  EXPECT_FALSE(accepts(with_tensor({1ull << 16, 1ull << 16, 1ull << 16, 1ull << 16}, 24, 0)));
  EXPECT_FALSE(accepts(with_tensor({0x5555555555555560, 3}, 24, 0)));  // wraps to 32
  EXPECT_FALSE(accepts(with_tensor({16}, 0, ~0ull - 31)));             // offset + size wraps
  EXPECT_FALSE(accepts(with_tensor({33}, 8, 0)));                      // broken block
  EXPECT_FALSE(accepts(with_tensor({1, 1, 1, 1, 1}, 0, 0)));           // five dimensions
  for (const std::uint32_t type : {4u, 5u, 31u, 33u, 36u, 38u, 42u, 1000u, 0x80000000u, ~0u}) {
    EXPECT_FALSE(accepts(with_tensor({1}, type, 0))) << type;
  }
  // Two tensors in the same place, by offset or by name.
  EXPECT_FALSE(
      accepts(Bytes().head(2, 0).tensor("a", {8}, 0, 0).tensor("b", {8}, 0, 0).data(64).text()));
  EXPECT_FALSE(
      accepts(Bytes().head(2, 0).tensor("a", {9}, 0, 0).tensor("b", {8}, 0, 32).data(64).text()));
  EXPECT_FALSE(
      accepts(Bytes().head(2, 0).tensor("a", {8}, 0, 0).tensor("a", {8}, 0, 32).data(64).text()));
  EXPECT_TRUE(
      accepts(Bytes().head(2, 0).tensor("a", {8}, 0, 32).tensor("b", {8}, 0, 0).data(64).text()));
}

TEST(GgufHostile, Metadata) {
  const auto alignment = [](std::uint32_t kind, std::uint64_t value) {
    return Bytes().head(0, 1).str("general.alignment").u32(kind).u64(value).data(64).text();
  };
  EXPECT_TRUE(accepts(alignment(4, 64)));
  EXPECT_TRUE(accepts(alignment(4, 1)));
  EXPECT_FALSE(accepts(alignment(4, 0)));
  EXPECT_FALSE(accepts(alignment(4, 3)));
  EXPECT_FALSE(accepts(alignment(4, 0x80000000)));
  EXPECT_FALSE(accepts(alignment(5, 32)));   // i32
  EXPECT_FALSE(accepts(alignment(10, 32)));  // u64
  EXPECT_FALSE(accepts(alignment(13, 32)));  // no kind
  const auto key_twice = Bytes().head(0, 2).str("a").u32(4).u32(1).str("a").u32(4).u32(1).text();
  EXPECT_FALSE(accepts(key_twice));
  EXPECT_FALSE(accepts(Bytes().head(0, 1).str("b").u32(7).put<std::uint8_t>(2).text()));

  Bytes deep;  // arrays of one array of one array ...
  deep.head(0, 1).str("deep").u32(9);
  for (int i = 0; i < 100'000; ++i) deep.u32(9).u64(1);
  EXPECT_FALSE(accepts(deep.text()));
  Bytes wide;  // ten thousand empty arrays
  wide.head(0, 1).str("wide").u32(9).u32(9).u64(10'000);
  for (int i = 0; i < 10'000; ++i) wide.u32(0).u64(0);
  EXPECT_FALSE(accepts(wide.text()));
  for (const std::uint32_t item : {0u, 1u, 2u, 6u, 7u, 8u, 9u, 10u, 12u}) {
    for (const std::uint64_t count : {1ull << 20, 1ull << 32, 1ull << 60, 1ull << 63, ~0ull}) {
      EXPECT_FALSE(
          accepts(Bytes().head(0, 1).str("a").u32(9).u32(item).u64(count).data(64).text()));
    }
  }
}

TEST(GgufHostile, OtherVersions) {
  std::string file = valid_file();
  file[4] = 2;
  EXPECT_TRUE(accepts(file));
  const auto message = [&](std::string_view version) {
    file.replace(4, 4, version);
    return testing::error_of([&] {
             BoundedReader reader(std::as_bytes(std::span(file)), "x");
             parse_gguf(reader);
           })
        .message();
  };
  EXPECT_NE(message(std::string_view("\1\0\0\0", 4)).find("version 1,"), std::string::npos);
  EXPECT_NE(message(std::string_view("\0\0\0\3", 4)).find("big-endian"), std::string::npos);
  EXPECT_NE(message(std::string_view("\4\0\0\0", 4)).find("version 4,"), std::string::npos);
}

TEST(GgufHostile, Mutations) {
  const std::string good = valid_file();
  int accepted = 0;
  for (std::uint64_t n = 0; n < 20'000; ++n) {
    if (accepts(testing::mutate(good, n))) ++accepted;
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_LT(accepted, 15'000);
}

// The whole way from disk: the same bytes are refused, and what is accepted is read to its end.
TEST(GgufHostile, MutationsOnDisk) {
  const TempDir dir;
  const std::string good = valid_file();
  for (std::uint64_t n = 0; n < 2'000; ++n) {
    const std::string text = testing::mutate(good, n);
    const std::string path = dir.put("x.gguf", text);
    try {
      const GgufSource source(path);
      for (const GgufTensor& tensor : source.tensors()) {
        std::vector<std::byte> bytes(tensor.bytes);
        source.read_bytes(tensor, 0, bytes);
        if (!tensor.type->quant) continue;
        const std::int64_t columns = tensor.dims.empty() ? 1 : tensor.dims.back();
        const std::int64_t rows = columns == 0 ? 0 : tensor.count() / columns;
        std::vector<float> values(static_cast<std::size_t>(tensor.count()));
        source.read_f32_rows(tensor, 0, MatrixView<float>(values.data(), rows, columns));
      }
    } catch (const Error& error) {
      ASSERT_NE(error.message().find("x.gguf"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace conclave::io
