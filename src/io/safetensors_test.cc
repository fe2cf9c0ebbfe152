#include "io/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "base/rng.h"
#include "io/bounded_reader.h"
#include "sys/testing.h"

namespace conclave::io {
namespace {

using conclave::testing::slurp;
using conclave::testing::TempDir;

std::vector<float> ramp(std::size_t count, float scale = 0.25f) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = scale * (static_cast<float>(i) - 7.0f);
  return values;
}

TensorToWrite floats(const std::string& name, StoredType type, const Shape& shape,
                     const std::vector<float>& values) {
  const std::int64_t cols = shape.rank() == 0 ? 1 : shape[shape.rank() - 1];
  return TensorToWrite::floats(name, type, shape,
                               MatrixView<const float>(values.data(), shape.count() / cols, cols));
}

TEST(Safetensors, ReadsWhatItWrites) {
  const TempDir dir;
  const std::vector<float> values = ramp(6 * 5);
  const std::vector<std::int64_t> ids = {1, -2, 3};
  const std::vector<TensorToWrite> tensors = {
      floats("w.f32", StoredType::kF32, {2, 3, 5}, values),
      floats("w.bf16", StoredType::kBF16, {6, 5}, values),
      floats("w.f16", StoredType::kF16, {30}, values),
      TensorToWrite::raw("ids", StoredType::kI64, {3}, std::as_bytes(std::span(ids))),
      TensorToWrite::raw("none", StoredType::kF32, {0, 4}, {})};
  write_safetensors(dir / "a.safetensors", tensors, {.metadata = {{"who", "a \"test\""}}});

  const TensorSource source(dir / "a.safetensors");
  EXPECT_EQ(source.names(), (std::vector<std::string>{"ids", "none", "w.bf16", "w.f16", "w.f32"}));
  EXPECT_EQ(source.metadata().at("format"), "pt");
  EXPECT_EQ(source.metadata().at("who"), "a \"test\"");
  for (const auto& [name, shape] : std::vector<std::pair<std::string, Shape>>{
           {"w.f32", {2, 3, 5}}, {"w.bf16", {6, 5}}, {"w.f16", {30}}}) {
    std::vector<float> got(30);
    source.read_f32(name, shape, std::span(got));
    EXPECT_EQ(got, values) << name;
    EXPECT_EQ(source.get(name).offset % 4, 0u);
  }
  std::vector<std::int64_t> back(3);
  source.read_bytes(source.get("ids"), 0, std::as_writable_bytes(std::span(back)));
  EXPECT_EQ(back, ids);
  EXPECT_EQ(source.get("ids").offset % 8, 0u);
  EXPECT_EQ(source.get("none").count(), 0);
  EXPECT_EQ(source.find("w"), nullptr);
}

TEST(Safetensors, ReadsIntoStridedRowsAndParts) {
  const TempDir dir;
  const std::vector<float> values = ramp(4 * 3);
  for (const StoredType type : {StoredType::kF32, StoredType::kBF16}) {
    const std::vector<TensorToWrite> tensors = {floats("w", type, {2, 2, 3}, values)};
    write_safetensors(dir / "a.safetensors", tensors);
    const TensorSource source(dir / "a.safetensors");
    std::vector<float> room(4 * 8, 99.0f);
    source.read_f32("w", {2, 2, 3}, MatrixView<float>(room.data(), 4, 3, 8));
    for (int r = 0; r < 4; ++r) {
      for (int c = 0; c < 8; ++c) EXPECT_EQ(room[r * 8 + c], c < 3 ? values[r * 3 + c] : 99.0f);
    }
    std::vector<float> part(2 * 3);  // the second of two stacked matrices
    source.read_f32_rows(source.get("w"), 2, MatrixView<float>(part.data(), 2, 3));
    EXPECT_TRUE(std::equal(part.begin(), part.end(), values.begin() + 6));
  }
}

TEST(Safetensors, WritesAStridedMatrixLargerThanTheBuffers) {
  const TempDir dir;
  const std::int64_t rows = 1003;
  const std::int64_t cols = 701;
  const std::int64_t stride = 704;
  std::vector<float> values(static_cast<std::size_t>(rows * stride));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 4096);
  const MatrixView<const float> view(values.data(), rows, cols, stride);
  for (const StoredType type : {StoredType::kF32, StoredType::kF16}) {
    const std::vector<TensorToWrite> tensors = {
        TensorToWrite::floats("w", type, {rows, cols}, view)};
    write_safetensors(dir / "a.safetensors", tensors);
    std::vector<float> got(static_cast<std::size_t>(rows * cols));
    TensorSource(dir / "a.safetensors").read_f32("w", {rows, cols}, std::span(got));
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < cols; ++c) {
        ASSERT_EQ(got[static_cast<std::size_t>(r * cols + c)],
                  type == StoredType::kF32 ? view(r, c) : to_float(to_f16(view(r, c))));
      }
    }
  }
}

TEST(Safetensors, NamesShapesAndFilesThatDoNotFit) {
  const TempDir dir;
  const std::vector<float> values = ramp(6);
  const std::vector<std::byte> bytes(6);
  const std::string path = dir / "a.safetensors";
  const std::vector<TensorToWrite> tensors = {
      floats("model.layers.0.mlp.gate.weight", StoredType::kF32, {2, 3}, values),
      TensorToWrite::raw("ids", StoredType::kU8, {6}, bytes)};
  write_safetensors(path, tensors);
  const TensorSource source(path);
  std::vector<float> six(6);
  const std::span<float> out(six);
  EXPECT_ERROR(
      source.read_f32("model.layers.0.mlp.gate.weight", {3, 2}, out), ErrorKind::kBadFile,
      path + ": tensor 'model.layers.0.mlp.gate.weight' has the shape [2, 3], expected [3, 2]");
  EXPECT_ERROR(source.read_f32("model.layers.0.mlp.gate.weight", {6}, out), ErrorKind::kBadFile,
               "expected [6]");
  EXPECT_ERROR(source.read_f32("model.layers.0.mlp.gat.weight", {2, 3}, out), ErrorKind::kNotFound,
               "did you mean 'model.layers.0.mlp.gate.weight'");
  EXPECT_ERROR(source.read_f32("ids", {6}, out), ErrorKind::kBadFile, "holds U8");
  EXPECT_ERROR(TensorSource(dir / "none"), ErrorKind::kNotFound, "none");
  EXPECT_ERROR(TensorSource(dir.path()), ErrorKind::kNotFound, "neither model.safetensors nor");
  const std::vector<TensorToWrite> twice = {floats("a", StoredType::kF32, {6}, values),
                                            floats("a", StoredType::kF32, {2, 3}, values)};
  EXPECT_ERROR(write_safetensors(path, twice), ErrorKind::kInvalidArgument, "'a'");
}

TEST(SafetensorsModel, SplitsAndReadsBack) {
  const TempDir dir;
  std::vector<std::vector<float>> values;
  std::vector<TensorToWrite> tensors;
  for (int i = 0; i < 7; ++i) values.push_back(ramp(100, static_cast<float>(i + 1)));
  for (int i = 0; i < 7; ++i) {
    tensors.push_back(floats(fmt::format("layers.{}.w", i), StoredType::kF32, {10, 10}, values[i]));
  }
  write_model_safetensors(dir.path(), tensors, 1000);
  EXPECT_EQ(sys::list_directory(dir.path()),
            (std::vector<std::string>{
                "model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors",
                "model-00003-of-00004.safetensors", "model-00004-of-00004.safetensors",
                "model.safetensors.index.json"}));
  const TensorSource source(dir.path());
  EXPECT_EQ(source.files().size(), 4u);
  EXPECT_TRUE(source.unexpected().empty());
  for (int i = 0; i < 7; ++i) {
    std::vector<float> got(100);
    source.read_f32(fmt::format("layers.{}.w", i), {10, 10}, std::span(got));
    EXPECT_EQ(got, values[i]);
  }
  // A tensor that is larger than a shard gets one of its own; a smaller save clears the shards.
  write_model_safetensors(dir.path(), tensors, 1);
  EXPECT_EQ(sys::list_directory(dir.path()).size(), 8u);
  dir.put("model-of-mine.safetensors", "");
  write_model_safetensors(dir.path(), tensors);
  EXPECT_EQ(sys::list_directory(dir.path()),
            (std::vector<std::string>{"model-of-mine.safetensors", "model.safetensors"}));
  EXPECT_EQ(TensorSource(dir.path()).tensors().size(), 7u);
}

TEST(SafetensorsModel, AFailedSaveKeepsTheOldFile) {
  const std::vector<float> before = ramp(100'000);
  const std::vector<float> after = ramp(100'000, 2.0f);
  for (int n = 1;; ++n) {
    const TempDir dir;
    const std::vector<TensorToWrite> old = {floats("w", StoredType::kF32, {100'000}, before)};
    write_model_safetensors(dir.path(), old);
    testing::FailingDisk disk(n, ENOSPC);
    const std::vector<TensorToWrite> young = {floats("w", StoredType::kF32, {100'000}, after)};
    bool failed = false;
    try {
      write_model_safetensors(dir.path(), young, 1 << 30, {.ops = &disk});
    } catch (const Error& error) {
      failed = true;
      EXPECT_EQ(error.kind(), ErrorKind::kIo);
    }
    EXPECT_EQ(failed, !disk.failed_call().empty());
    std::vector<float> got(100'000);
    TensorSource(dir.path()).read_f32("w", {100'000}, std::span(got));
    EXPECT_EQ(got, disk.renamed() ? after : before) << disk.failed_call();
    EXPECT_EQ(sys::list_directory(dir.path()).size(), 1u);
    if (!failed) break;
  }
}

// Names in the index that lead out of the directory, or nowhere.
TEST(SafetensorsModel, ShardNamesStayInTheDirectory) {
  const TempDir dir;
  sys::make_directories(dir / "model");
  const std::vector<float> values = ramp(6);
  const std::vector<TensorToWrite> tensors = {floats("w", StoredType::kF32, {6}, values)};
  write_safetensors(dir / "secret.safetensors", tensors);
  write_safetensors(dir / "model/good.safetensors", tensors);
  const auto put = [&](const std::string& shard) {
    dir.put("model/model.safetensors.index.json", "{\"weight_map\": {\"w\": \"" + shard + "\"}}");
  };
  put("good.safetensors");
  EXPECT_EQ(TensorSource(dir / "model").tensors().size(), 1u);
  for (const std::string shard :
       {"../secret.safetensors", "./good.safetensors", "..", ".", "", "/etc/passwd",
        "sub/../good.safetensors", "..\\\\secret.safetensors", "\\u0000.safetensors",
        "good.safetensors\\u0000", "C:good.safetensors", "good.safetensors/", "good",
        ".hidden.safetensors", "\\u002e\\u002e/secret.safetensors", "a\\n.safetensors"}) {
    put(shard);
    EXPECT_ERROR(TensorSource(dir / "model"), ErrorKind::kBadFile, "plain name");
  }
  put((dir / "secret.safetensors"));
  EXPECT_ERROR(TensorSource(dir / "model"), ErrorKind::kBadFile, "plain name");
  put("absent.safetensors");
  EXPECT_ERROR(TensorSource(dir / "model"), ErrorKind::kNotFound, "absent.safetensors");
}

TEST(SafetensorsModel, TheIndexAndTheShardsMustAgree) {
  const TempDir dir;
  const std::vector<float> values = ramp(6);
  const std::vector<TensorToWrite> a = {floats("a", StoredType::kF32, {6}, values),
                                        floats("extra", StoredType::kF32, {6}, values)};
  const std::vector<TensorToWrite> b = {floats("b", StoredType::kF32, {6}, values)};
  write_safetensors(dir / "1.safetensors", a);
  write_safetensors(dir / "2.safetensors", b);
  const std::string index = dir / "model.safetensors.index.json";
  const auto put = [&](const std::string& text) { dir.put("model.safetensors.index.json", text); };

  put(R"({"metadata": {"x": [1, {"y": 2}]},
          "weight_map": {"a": "1.safetensors", "b": "2.safetensors"}})");
  const TensorSource source(dir.path());
  EXPECT_EQ(source.names(), (std::vector<std::string>{"a", "b"}));
  ASSERT_EQ(source.unexpected().size(), 1u);
  EXPECT_NE(source.unexpected()[0].find("'extra'"), std::string::npos);

  put(R"({"weight_map": {"a": "2.safetensors", "b": "2.safetensors"}})");
  EXPECT_ERROR(TensorSource(dir.path()), ErrorKind::kBadFile, "'a' is not in 2.safetensors");
  put(R"({"weight_map": {"a": "1.safetensors", "c": "2.safetensors"}})");
  EXPECT_ERROR(TensorSource(dir.path()), ErrorKind::kBadFile, index);
  for (const char* text :
       {"{}", "[]", "3", R"({"weight_map": []})", R"({"weight_map": 3})",
        R"({"weight_map": {"a": 3}})", R"({"weight_map": {"a": ["1.safetensors"]}})",
        R"({"weight_map": {"a": {"b": "1.safetensors"}}})", R"({"weight_map": null})",
        R"({"weight_map": {"a": "1.safetensors", "a": "1.safetensors"}})",
        R"({"weight_map": {}, "weight_map": {"a": "1.safetensors"}})", "{\"weight_map\": "}) {
    put(text);
    EXPECT_ERROR(TensorSource(dir.path()), ErrorKind::kBadFile, index);
  }
}

TEST(SafetensorsModel, AFileThatIsCutAfterOpeningIsAnError) {
  const TempDir dir;
  const std::vector<float> values = ramp(100);
  const std::vector<TensorToWrite> tensors = {floats("w", StoredType::kF32, {100}, values)};
  const std::string path = dir / "a.safetensors";
  write_safetensors(path, tensors);
  const TensorSource source(path);
  dir.put("a.safetensors", slurp(path).substr(0, 300));
  std::vector<float> got(100);
  EXPECT_ERROR(source.read_f32("w", {100}, std::span(got)), ErrorKind::kBadFile,
               "ends at byte 300");
}

}  // namespace
}  // namespace conclave::io
