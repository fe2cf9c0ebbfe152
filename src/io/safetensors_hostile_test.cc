// Files that were cut, flipped or made to hurt: each gives a typed error or means the same.
#include <gtest/gtest.h>

#include <cstring>

#include "io/safetensors.h"
#include "io/testing.h"
#include "sys/testing.h"

namespace conclave::io {
namespace {

using conclave::testing::slurp;
using conclave::testing::TempDir;

std::string pack(const std::string& json, std::size_t data_bytes) {
  const std::uint64_t length = json.size();
  std::string file(reinterpret_cast<const char*>(&length), 8);
  return file + json + std::string(data_bytes, '\x5a');
}

// The whole way of a file from disk: header, then every byte of every tensor.
void load(const std::string& path) {
  const TensorSource source(path);
  for (const TensorInfo& info : source.tensors()) {
    ASSERT_LE(info.offset, source.files()[0].size());
    ASSERT_LE(info.bytes, source.files()[0].size() - info.offset);
    std::vector<std::byte> bytes(info.bytes);
    source.read_bytes(info, 0, bytes);
    if (converts_to_f32(info.type)) {
      std::vector<float> values(static_cast<std::size_t>(info.count()));
      source.read_f32_rows(info, 0, MatrixView<float>(values.data(), 1, info.count()));
    }
  }
}

bool loads(const TempDir& dir, const std::string& content) {
  const std::string path = dir.put("x.safetensors", content);
  try {
    load(path);
    return true;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadFile) << error.message();
    EXPECT_NE(error.message().find("x.safetensors"), std::string::npos) << error.message();
    EXPECT_LT(error.message().size(), 1000u);
    return false;
  }
}

std::string valid_file() {
  return pack(
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
      R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]}})",
      32);
}

TEST(SafetensorsHostile, HeadersThatAreRefused) {
  const TempDir dir;
  ASSERT_TRUE(loads(dir, valid_file()));
  struct Case {
    const char* json;
    std::size_t data;
  };
  const Case cases[] = {
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 9},    // bytes left over
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7},    // cut
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12},  // a hole
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8},    // backwards
      {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8},    // shape and bytes differ
      {R"({"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}})", 8},    // unknown type
      {R"({"a":{"dtype":3,"shape":[2],"data_offsets":[0,8]}})", 8},
      {R"({"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})", 8},
      {R"({"a":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}})", 8},
      {R"({"a":{"dtype":"F32","shape":{"x":2},"data_offsets":[0,8]}})", 8},
      {R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", 8},
      {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8},
      {R"({"a":{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}})", 8},
      {R"({"a":{"dtype":"F32","shape":[null],"data_offsets":[0,8]}})", 8},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", 8},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}})", 8},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8.0]}})", 8},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[-1,7]}})", 8},
      {R"({"a":{"dtype":"F32","shape":[2]}})", 8},
      {R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", 8},
      {R"({"a":{"shape":[2],"data_offsets":[0,8]}})", 8},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8},
      {R"({"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}})", 8},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"data_offsets":[0,8]}})", 8},
      {R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}})", 1},  // 12 bits
      {R"({"a":3})", 0},
      {R"({"a":null})", 0},
      {R"({"a":"x"})", 0},
      {R"({"a":[]})", 0},
      {R"([])", 0},
      {R"( {})", 0},
      {R"({}x)", 0},
      {R"({"__metadata__":{"a":1}})", 0},
      {R"({"__metadata__":{"a":{"b":"c"}}})", 0},
      {R"({"__metadata__":{"a":"b","a":"b"}})", 0},
      {R"({"__metadata__":{},"__metadata__":{}})", 0},
      {R"({"__metadata__":"x"})", 0},
      // Two tensors: overlap, hole between, the same name.
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
       R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
       12},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
       R"("b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
       8},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
       R"("b":{"dtype":"F32","shape":[2],"data_offsets":[9,17]}})",
       17},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
       R"("a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})",
       16},
      // Products that wrap: to zero, to the right size, by the element size, in the offsets.
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0},
      {R"({"a":{"dtype":"U8","shape":[4294967296,4294967297],"data_offsets":[0,4294967296]}})", 0},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", 0},
      {R"({"a":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,0]}})", 0},
      {R"({"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[1,0]}})", 0},
      {R"({"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})", 0},
      {R"({"a":{"dtype":"U8","shape":[9223372036854775807,2,0],"data_offsets":[0,0]}})", 0},
      {R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[18446744073709551615,18446744073709551615]}})",
       0},
      {R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[18446744073709551608,18446744073709551616]}})",
       0},
      {R"({"a":{"dtype":"U8","shape":[1e1],"data_offsets":[0,10]}})", 10},
  };
  for (const Case& one : cases) EXPECT_FALSE(loads(dir, pack(one.json, one.data))) << one.json;
}

TEST(SafetensorsHostile, HeadersThatAreFine) {
  const TempDir dir;
  EXPECT_TRUE(loads(dir, pack("{}", 0)));
  EXPECT_TRUE(loads(dir, pack("{}     ", 0)));
  EXPECT_TRUE(loads(dir, pack(R"({"__metadata__":null})", 0)));
  EXPECT_TRUE(loads(dir, pack(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", 4)));
  EXPECT_TRUE(loads(dir, pack(R"({"a":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]},)"
                              R"("b":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})",
                              0)));
  EXPECT_TRUE(loads(dir, pack(R"({"a":{"x":[{"dtype":1}],"dtype":"F4","shape":[2],)"
                              R"("y":null,"data_offsets":[0,1],"z":-1.5}})",
                              1)));
  EXPECT_TRUE(loads(dir, pack(R"({"":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}})", 1)));
}

// Every combination of two dimensions, begin and end at the values where sizes wrap: accepted is
// only what fits the 32 bytes of data, computed here in a wider type.
TEST(SafetensorsHostile, IntegerFieldsAtTheirEdges) {
  const std::uint64_t edges[] = {0,
                                 1,
                                 2,
                                 8,
                                 32,
                                 33,
                                 1ull << 31,
                                 1ull << 32,
                                 1ull << 61,
                                 1ull << 62,
                                 (1ull << 63) - 1,
                                 1ull << 63,
                                 ~0ull - 31,
                                 ~0ull};
  int accepted = 0;
  for (const std::uint64_t rows : edges) {
    for (const std::uint64_t cols : edges) {
      for (const std::uint64_t begin : edges) {
        for (const std::uint64_t end : edges) {
          const std::string json =
              fmt::format(R"({{"a":{{"dtype":"F32","shape":[{},{}],"data_offsets":[{},{}]}}}})",
                          rows, cols, begin, end);
          const long double bytes = 4.0L * static_cast<long double>(rows) * cols;
          const bool fits = begin == 0 && end == 32 && bytes == 32.0L;
          try {
            parse_safetensors_header(json, 8 + json.size() + 32, "e");
            ASSERT_TRUE(fits) << json;
            ++accepted;
          } catch (const Error& error) {
            ASSERT_EQ(error.kind(), ErrorKind::kBadFile);
            ASSERT_FALSE(fits) << json;
          }
        }
      }
    }
  }
  EXPECT_EQ(accepted, 2);  // 1 x 8 and 8 x 1
}

TEST(SafetensorsHostile, HeaderLengths) {
  const TempDir dir;
  const std::string good = valid_file();
  const std::uint64_t json = good.size() - 8 - 32;
  for (const std::uint64_t length :
       {std::uint64_t{0}, std::uint64_t{1}, json - 1, json + 1, json + 32, json + 33,
        kMaxSafetensorsHeader, kMaxSafetensorsHeader + 1, std::uint64_t{1} << 31,
        std::uint64_t{1} << 32, std::uint64_t{1} << 62, (std::uint64_t{1} << 63) - 1,
        std::uint64_t{1} << 63, ~std::uint64_t{0} - 8, ~std::uint64_t{0} - 7, ~std::uint64_t{0}}) {
    std::string file = good;
    std::memcpy(file.data(), &length, 8);
    EXPECT_FALSE(loads(dir, file)) << length;
  }
}

TEST(SafetensorsHostile, CutAtEveryByte) {
  const TempDir dir;
  const std::string good = valid_file();
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(loads(dir, good.substr(0, size))) << size;
  }
  EXPECT_FALSE(loads(dir, good + "x"));
}

// A flip may leave a file that is valid and means something else (a letter of a name); it must
// never read outside of it.
TEST(SafetensorsHostile, EveryBitOfTheHeader) {
  const TempDir dir;
  const std::string good = valid_file();
  int refused = 0;
  const std::size_t bits = (good.size() - 32) * 8;
  for (std::size_t bit = 0; bit < bits; ++bit) {
    std::string file = good;
    file[bit / 8] = static_cast<char>(file[bit / 8] ^ (1 << (bit % 8)));
    if (!loads(dir, file)) ++refused;
  }
  EXPECT_GT(refused, static_cast<int>(bits * 3 / 4));
}

TEST(SafetensorsHostile, Mutations) {
  const std::string good = valid_file();
  const std::string json = good.substr(8, good.size() - 8 - 32);
  int accepted = 0;
  for (std::uint64_t n = 0; n < 20'000; ++n) {
    const std::string text = testing::mutate(json, n);
    const std::uint64_t file_bytes = 8 + text.size() + 32;
    try {
      const SafetensorsHeader header = parse_safetensors_header(text, file_bytes, "m");
      ++accepted;
      std::uint64_t sum = 0;
      for (const TensorInfo& info : header.tensors) {
        ASSERT_LE(info.offset + info.bytes, file_bytes);
        ASSERT_FALSE(__builtin_add_overflow(sum, info.bytes, &sum));
      }
      ASSERT_LE(sum, file_bytes);
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::kBadFile);
    }
  }
  EXPECT_GT(accepted, 50);
  EXPECT_LT(accepted, 15'000);
}

// 12 MB of the header that costs most to hold: time and memory stay in proportion.
TEST(SafetensorsHostile, LargeHeadersAreCheap) {
  std::string json = "{";
  for (int i = 0; json.size() < 12'000'000; ++i) {
    json += fmt::format(R"({}"{}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
                        i == 0 ? "" : ",", i);
  }
  json += "}";
  EXPECT_GT(parse_safetensors_header(json, 8 + json.size(), "m").tensors.size(), 200'000u);
  std::string dims = R"({"a":{"dtype":"U8","data_offsets":[0,1],"shape":[1)";
  while (dims.size() < 12'000'000) dims += ",1";
  dims += "]}}";
  EXPECT_ERROR(parse_safetensors_header(dims, 9 + dims.size(), "m"), ErrorKind::kBadFile, "shape");
  const std::string deep = "{\"a\":{\"x\":" + std::string(10'000'000, '[');
  EXPECT_ERROR(parse_safetensors_header(deep, 8 + deep.size(), "m"), ErrorKind::kBadFile, "nested");
  const std::string name = "{\"" + std::string(5000, 'n') + "\":3}";
  EXPECT_ERROR(parse_safetensors_header(name, 8 + name.size(), "m"), ErrorKind::kBadFile, "name");
}

}  // namespace
}  // namespace conclave::io
