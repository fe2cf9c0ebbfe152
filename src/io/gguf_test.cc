#include "io/gguf.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>

#include "sys/testing.h"

namespace conclave::io {
namespace {

using conclave::testing::slurp;
using conclave::testing::TempDir;

std::vector<float> wave(std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = std::sin(0.37f * static_cast<float>(i));
  return values;
}

GgufMetadata every_kind() {
  GgufMetadata metadata;
  metadata.set("general.architecture", std::string("llama"));
  metadata.set("u8", std::uint8_t{200});
  metadata.set("i8", std::int8_t{-100});
  metadata.set("u16", std::uint16_t{60000});
  metadata.set("i16", std::int16_t{-30000});
  metadata.set("u32", std::uint32_t{4000000000});
  metadata.set("i32", std::int32_t{-2000000000});
  metadata.set("f32", 0.5f);
  metadata.set("bool", true);
  metadata.set("u64", std::uint64_t{1} << 63);
  metadata.set("i64", std::int64_t{-1} << 62);
  metadata.set("f64", 1e300);
  metadata.set("empty", std::string());
  metadata.set("ints", GgufArray::of(std::vector<std::int32_t>{8, 2, -1}));
  metadata.set("floats", GgufArray::of(std::vector<float>{1.5f, -2.0f}));
  metadata.set("texts", GgufArray::of(std::vector<std::string>{"a", "", "\xe2\x96\x81the"}));
  GgufArray nested;
  nested.item = GgufKind::kArray;
  nested.arrays = {GgufArray::of(std::vector<std::int32_t>{1}),
                   GgufArray::of(std::vector<std::string>{"x", "y"})};
  metadata.set("nested", nested);
  return metadata;
}

TEST(Gguf, MetadataOfEveryKindComesBack) {
  const TempDir dir;
  const std::string path = dir / "a.gguf";
  EXPECT_EQ(write_gguf(path, every_kind(), {}), std::vector<std::string>{path});
  const GgufSource source(path);
  const GgufMetadata& got = source.metadata();
  ASSERT_EQ(got.entries().size(), every_kind().entries().size());
  EXPECT_EQ(got.entries()[0].first, "general.architecture");
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(got.string("general.architecture"), "llama");
  EXPECT_EQ(got.integer("u8", -kMax, kMax), 200);
  EXPECT_EQ(got.integer("i8", -kMax, kMax), -100);
  EXPECT_EQ(got.integer("u16", -kMax, kMax), 60000);
  EXPECT_EQ(got.integer("i16", -kMax, kMax), -30000);
  EXPECT_EQ(got.integer("u32", -kMax, kMax), 4000000000);
  EXPECT_EQ(got.integer("i32", -kMax, kMax), -2000000000);
  EXPECT_EQ(got.integer("i64", -kMax, kMax), std::int64_t{-1} << 62);
  EXPECT_EQ(got.number("f32", 0, 1), 0.5);
  EXPECT_EQ(got.number("f64", 0, 1e301), 1e300);
  EXPECT_EQ(got.number("u8", 0, 1e301), 200.0);
  EXPECT_TRUE(got.boolean("bool"));
  EXPECT_EQ(got.string("empty"), "");
  EXPECT_EQ(got.integers("ints", -1, 8), (std::vector<std::int64_t>{8, 2, -1}));
  EXPECT_EQ(got.integers("u8", 0, 255), std::vector<std::int64_t>{200});
  EXPECT_EQ(got.numbers("floats"), (std::vector<double>{1.5, -2.0}));
  const StringTable& texts = got.strings("texts");
  ASSERT_EQ(texts.size(), 3u);
  EXPECT_EQ(texts[0], "a");
  EXPECT_EQ(texts[1], "");
  EXPECT_EQ(texts[2], "\xe2\x96\x81the");
  const GgufArray& nested = std::get<GgufArray>(*got.find("nested"));
  ASSERT_EQ(nested.arrays.size(), 2u);
  EXPECT_EQ(nested.arrays[1].strings[1], "y");
  EXPECT_EQ(got.integer("absent", 0, 1, 7), 7);
}

TEST(Gguf, GettersNameFileKeyFoundAndExpected) {
  const TempDir dir;
  const std::string path = dir / "a.gguf";
  write_gguf(path, every_kind(), {});
  const GgufSource source(path);
  const GgufMetadata& got = source.metadata();
  EXPECT_ERROR(got.integer("u8", 1, 100), ErrorKind::kBadFile,
               path + ": key 'u8': found 200, expected an integer from 1 to 100");
  EXPECT_ERROR(got.integer("u64", 0, 9), ErrorKind::kBadFile, "found 9223372036854775808");
  EXPECT_ERROR(got.integer("f32", 0, 9), ErrorKind::kBadFile, "found 0.5");
  EXPECT_ERROR(got.integer("bool", 0, 9), ErrorKind::kBadFile, "found true");
  EXPECT_ERROR(got.integer("none", 0, 9), ErrorKind::kBadFile, "is missing");
  EXPECT_ERROR(got.number("f64", 0, 1), ErrorKind::kBadFile, "expected a number from 0 to 1");
  EXPECT_ERROR(got.number("bool", 0, 1), ErrorKind::kBadFile, "found true");
  EXPECT_ERROR(got.boolean("u8"), ErrorKind::kBadFile, "expected true or false");
  EXPECT_ERROR(got.string("ints"), ErrorKind::kBadFile, "found an array of 3, expected a string");
  EXPECT_ERROR(got.integers("ints", 0, 8), ErrorKind::kBadFile, "entry 2 is -1");
  EXPECT_ERROR(got.integers("texts", 0, 8), ErrorKind::kBadFile, "of no numbers");
  EXPECT_ERROR(got.strings("ints"), ErrorKind::kBadFile, "expected a list of strings");
}

TEST(Gguf, TensorsOfEveryWritableTypeComeBack) {
  const TempDir dir;
  const std::vector<float> values = wave(6 * 512);
  std::vector<GgufTensorToWrite> tensors;
  const MatrixView<const float> view(values.data(), 6, 512);
  for (int t = 0; t < kQuantTypeCount; ++t) {
    const auto type = static_cast<QuantType>(t);
    if (!quant_info(type).can_encode) continue;
    tensors.push_back(GgufTensorToWrite::floats(quant_info(type).name, type, {2, 3, 512}, view));
  }
  const std::vector<std::int32_t> ids = {3, 1, 4};
  tensors.push_back(
      GgufTensorToWrite::raw("ids", *find_gguf_type(26), {3}, std::as_bytes(std::span(ids))));
  write_gguf(dir / "a.gguf", {}, tensors);
  const GgufSource source(dir / "a.gguf");
  EXPECT_EQ(source.tensors().size(), tensors.size());
  for (const GgufTensorToWrite& tensor : tensors) {
    if (tensor.name == "ids") continue;
    const QuantType type = *tensor.type->quant;
    std::vector<std::byte> blocks(static_cast<std::size_t>(quant_bytes(type, 6 * 512)));
    quantize(type, values, blocks);
    std::vector<float> expected(values.size());
    dequantize(type, blocks.data(), 6 * 512, expected.data());
    std::vector<float> got(values.size());
    source.read_f32(tensor.name, {2, 3, 512}, std::span(got));
    EXPECT_EQ(got, expected) << tensor.name;
    EXPECT_EQ(source.get(tensor.name).offset % 32, 0u);
    // The second of the stacked matrices, into rows that are further apart.
    std::vector<float> part(3 * 600, 99.0f);
    source.read_f32_rows(source.get(tensor.name), 3, MatrixView<float>(part.data(), 3, 512, 600));
    for (int r = 0; r < 3; ++r) {
      EXPECT_TRUE(std::equal(&part[r * 600], &part[r * 600 + 512], &expected[(3 + r) * 512]));
      EXPECT_EQ(part[r * 600 + 512], 99.0f);
    }
  }
  std::vector<std::int32_t> back(3);
  source.read_bytes(source.get("ids"), 0, std::as_writable_bytes(std::span(back)));
  EXPECT_EQ(back, ids);
  std::vector<float> three(3);
  EXPECT_ERROR(source.read_f32("ids", {3}, std::span(three)), ErrorKind::kUnsupported, "type I32");
  EXPECT_ERROR(source.read_f32("Q8_1", {3}, std::span(three)), ErrorKind::kNotFound,
               "did you mean 'Q8_0'");
  EXPECT_ERROR(source.read_f32("Q8_0", {3}, std::span(three)), ErrorKind::kBadFile,
               "has the shape [2, 3, 512], expected [3]");
}

TEST(Gguf, LargeTensorsAreReadAndWrittenInPieces) {
  const TempDir dir;
  const std::vector<float> values = wave(1000 * 1024);
  const MatrixView<const float> view(values.data(), 1000, 1000, 1024);  // strided
  const std::vector<GgufTensorToWrite> tensors = {
      GgufTensorToWrite::floats("w", QuantType::kF16, {1000, 1000}, view)};
  write_gguf(dir / "a.gguf", {}, tensors, {.alignment = 4096});
  const GgufSource source(dir / "a.gguf");
  EXPECT_EQ(source.get("w").offset % 4096, 0u);
  std::vector<float> got(1000 * 1000);
  source.read_f32("w", {1000, 1000}, std::span(got));
  for (std::int64_t r = 0; r < 1000; ++r) {
    for (std::int64_t c = 0; c < 1000; ++c) {
      ASSERT_EQ(got[static_cast<std::size_t>(r * 1000 + c)], to_float(to_f16(view(r, c))));
    }
  }
}

TEST(Gguf, SplitModels) {
  const TempDir dir;
  const std::vector<float> values = wave(64 * 8);
  std::vector<GgufTensorToWrite> tensors;
  for (int i = 0; i < 5; ++i) {
    tensors.push_back(
        GgufTensorToWrite::floats(fmt::format("blk.{}.w", i), QuantType::kF32, {8, 8},
                                  MatrixView<const float>(values.data() + 64 * i, 8, 8)));
  }
  const auto paths = write_gguf(dir / "m.gguf", every_kind(), tensors, {.max_shard_bytes = 600});
  ASSERT_EQ(paths.size(), 3u);
  EXPECT_EQ(paths[2], dir / "m-00003-of-00003.gguf");
  for (const std::string& path : paths) {  // any of them opens the whole
    const GgufSource source(path);
    EXPECT_EQ(source.files().size(), 3u);
    EXPECT_EQ(source.metadata().string("general.architecture"), "llama");
    for (int i = 0; i < 5; ++i) {
      std::vector<float> got(64);
      source.read_f32(fmt::format("blk.{}.w", i), {8, 8}, std::span(got));
      EXPECT_TRUE(std::equal(got.begin(), got.end(), values.begin() + 64 * i));
    }
  }
  const std::string second = slurp(paths[1]);
  dir.put("m-00002-of-00003.gguf", slurp(paths[2]));
  EXPECT_ERROR(GgufSource{paths[0]}, ErrorKind::kBadFile, "split.no");
  ::unlink(paths[1].c_str());
  EXPECT_ERROR(GgufSource{paths[0]}, ErrorKind::kNotFound, paths[1]);
  dir.put("other.gguf", second);
  EXPECT_ERROR(GgufSource(dir / "other.gguf"), ErrorKind::kBadFile, "must end in -00001-of-00003");
}

TEST(Gguf, WriterRefusesWhatTheFormatCannotHold) {
  const TempDir dir;
  const std::vector<float> values = wave(48);
  const MatrixView<const float> view(values.data(), 1, 48);
  EXPECT_ERROR(GgufTensorToWrite::floats("w", QuantType::kQ8_0, {48}, view),
               ErrorKind::kInvalidArgument,
               "tensor 'w' [48]: rows of 48 are no whole blocks of 32");
  const auto one = [&](const std::string& name) {
    return GgufTensorToWrite::floats(name, QuantType::kF32, {48}, view);
  };
  const std::vector<GgufTensorToWrite> twice = {one("a"), one("a")};
  EXPECT_ERROR(write_gguf(dir / "a.gguf", {}, twice), ErrorKind::kInvalidArgument, "twice");
  const std::vector<GgufTensorToWrite> lengthy = {one(std::string(64, 'n'))};
  EXPECT_ERROR(write_gguf(dir / "a.gguf", {}, lengthy), ErrorKind::kInvalidArgument, "63 bytes");
  std::vector<float> bad(32, NAN);
  const std::vector<GgufTensorToWrite> nan = {GgufTensorToWrite::floats(
      "w", QuantType::kQ8_0, {32}, MatrixView<const float>(bad.data(), 1, 32))};
  EXPECT_ERROR(write_gguf(dir / "a.gguf", {}, nan), ErrorKind::kNumeric, "tensor 'w' from row 0");
  EXPECT_TRUE(sys::list_directory(dir.path()).empty());
}

TEST(Gguf, AFailedSaveKeepsTheOldFile) {
  const std::vector<float> values = wave(4096);
  const MatrixView<const float> view(values.data(), 16, 256);
  const std::vector<GgufTensorToWrite> tensors = {
      GgufTensorToWrite::floats("w", QuantType::kQ4_K, {16, 256}, view)};
  for (int n = 1;; ++n) {
    const TempDir dir;
    const std::string path = dir.put("a.gguf", "old");
    testing::FailingDisk disk(n, ENOSPC);
    try {
      write_gguf(path, every_kind(), tensors, {.ops = &disk});
      EXPECT_TRUE(disk.failed_call().empty());
      EXPECT_GT(n, 5);
      break;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kIo);
      if (!disk.renamed()) {
        EXPECT_EQ(slurp(path), "old");
      }
      EXPECT_EQ(sys::list_directory(dir.path()).size(), 1u);
    }
  }
}

// Vocabularies of published models.
TEST(Gguf, RealFiles) {
  const std::string dir = CONCLAVE_SOURCE_DIR "/../shared/data/tokenizers/gguf";
  if (!sys::directory_exists(dir)) GTEST_SKIP() << "no GGUF files beside the sources";
  int count = 0;
  for (const std::string& name : sys::list_directory(dir)) {
    if (!name.ends_with(".gguf")) continue;
    const GgufSource source(sys::join_path(dir, name));
    const StringTable& tokens = source.metadata().strings("tokenizer.ggml.tokens");
    EXPECT_GT(tokens.size(), 30000u) << name;
    EXPECT_EQ(source.metadata().integers("tokenizer.ggml.token_type", 0, 6).size(), tokens.size());
    EXPECT_FALSE(source.metadata().string("general.architecture").empty());
    ++count;
  }
  EXPECT_GE(count, 3);
}

}  // namespace
}  // namespace conclave::io
