// Every golden checkpoint as a GGUF file and back: the same logits in every bit. And files that
// lie.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "models/convert.h"
#include "models/gguf_form.h"
#include "nn/transformer.h"

namespace conclave::models {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry :
       fs::directory_iterator(fs::path(CONCLAVE_SOURCE_DIR) / "tests/goldens/models")) {
    if (fs::exists(entry.path() / "config.json")) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class TemporaryDirectory {
 public:
  TemporaryDirectory()
      : path_(fs::temp_directory_path() / fmt::format("conclave-gguf-{}", ::getpid())) {
    fs::create_directories(path_);
  }
  ~TemporaryDirectory() { fs::remove_all(path_); }
  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  fs::path path_;
};

std::vector<float> logits(ops::Context& context, const std::string& path, DType compute) {
  LoadedModel model = load_model(context, path, compute);
  nn::Transformer& transformer = *model.transformer;
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 14; ++i) ids.push_back((7 * i + 3) % transformer.config().vocab_size);
  const auto cache = transformer.new_cache(static_cast<std::int64_t>(ids.size()));
  nn::Batch batch;
  batch.ids_T = ids;
  batch.chunks.push_back({cache.get(), 0, static_cast<std::int64_t>(ids.size()), 0});
  nn::Activations activations;
  transformer.forward(context, batch, {}, activations);
  std::vector<float> out(ids.size() * static_cast<std::size_t>(transformer.config().vocab_size));
  transformer.logits(
      context, activations.out.view(),
      {out.data(), static_cast<std::int64_t>(ids.size()), transformer.config().vocab_size});
  return out;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class GgufForms : public ::testing::TestWithParam<std::string> {};

TEST_P(GgufForms, SameBitsThereAndBack) {
  const std::string source =
      (fs::path(CONCLAVE_SOURCE_DIR) / "tests/goldens/models" / GetParam()).string();
  const TemporaryDirectory directory;
  ops::Context context(2);
  ConvertOptions options;
  options.types = TypePolicy::all(QuantType::kF32);
  const std::string file = directory.file("model.gguf"), back = directory.file("back");
  convert_to_gguf(context, source, file, options);
  const std::vector<float> expected = logits(context, source, DType::kF32);
  EXPECT_TRUE(same_bits(expected, logits(context, file, DType::kF32)));
  convert_to_directory(context, file, back, options);
  const std::vector<float> again = logits(context, back, DType::kF32);
  ASSERT_EQ(expected.size(), again.size());
  for (std::size_t i = 0; i < again.size(); ++i) ASSERT_NEAR(expected[i], again[i], 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Models, GgufForms, ::testing::ValuesIn(golden_names()),
                         [](const auto& test) { return test.param; });

std::string golden(const std::string& name) {
  return (fs::path(CONCLAVE_SOURCE_DIR) / "tests/goldens/models" / name).string();
}

TEST(Gguf, QuantisedFilesStayNearAndKeepTheRouter) {
  const TemporaryDirectory directory;
  ops::Context context(2);
  const std::string file = directory.file("q.gguf");
  ConvertOptions options;
  options.types = TypePolicy::all(QuantType::kQ8_0);
  const ConvertReport report = convert_to_gguf(context, golden("mixtral"), file, options);
  for (const ConvertedTensor& tensor : report.tensors) {
    EXPECT_LT(tensor.relative_error, 0.01) << tensor.name;
    const bool router = tensor.name.find("ffn_gate_inp") != std::string::npos;
    if (router) {
      EXPECT_EQ(tensor.to, "F32");
    }
  }
  const std::vector<float> expected = logits(context, golden("mixtral"), DType::kF32);
  const std::vector<float> found = logits(context, file, DType::kBF16);
  double errors = 0, squares = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    errors += std::pow(static_cast<double>(found[i]) - static_cast<double>(expected[i]), 2);
    squares += std::pow(static_cast<double>(expected[i]), 2);
  }
  EXPECT_LT(std::sqrt(errors / squares), 0.2);  // wide weights, narrow layers
  EXPECT_GT(errors, 0);
}

TEST(Gguf, SplitFilesAreTheSame) {
  const TemporaryDirectory directory;
  ops::Context context(1);
  ConvertOptions options;
  options.max_shard_bytes = 60000;
  const ConvertReport report =
      convert_to_gguf(context, golden("mixtral"), directory.file("split.gguf"), options);
  ASSERT_GT(report.files.size(), 2u);
  EXPECT_TRUE(same_bits(logits(context, golden("mixtral"), DType::kF32),
                        logits(context, report.files[1], DType::kF32)));
}

// A tensor that is missing, one too many, one of another shape: never a model that answers.
TEST(Gguf, TensorsThatDoNotFitTheKeys) {
  const TemporaryDirectory directory;
  ops::Context context(1);
  const std::string good = directory.file("good.gguf");
  convert_to_gguf(context, golden("mixtral"), good, {});
  const io::GgufSource source(good);
  const auto rewrite = [&](const std::function<void(std::vector<io::GgufTensorToWrite>&)>& change) {
    std::vector<std::vector<std::byte>> bytes;
    std::vector<io::GgufTensorToWrite> tensors;
    for (const io::GgufTensor& tensor : source.tensors()) {
      bytes.emplace_back(tensor.bytes);
      source.read_bytes(tensor, 0, bytes.back());
      tensors.push_back(
          io::GgufTensorToWrite::raw(tensor.name, *tensor.type, tensor.dims, bytes.back()));
    }
    change(tensors);
    const std::string path = directory.file("bad.gguf");
    io::write_gguf(path, source.metadata(), tensors);
    return path;
  };
  const auto kind = [&](const std::string& path) {
    try {
      logits(context, path, DType::kF32);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::kInterrupted;  // no error: wrong
  };
  const auto named = [](const char* name) {
    return [name](const io::GgufTensorToWrite& t) { return t.name == name; };
  };
  EXPECT_EQ(kind(rewrite([&](auto& t) { std::erase_if(t, named("blk.1.ffn_up_exps.weight")); })),
            ErrorKind::kNotFound);
  EXPECT_EQ(kind(rewrite([&](auto& t) {
              t.push_back(t.front());
              t.back().name = "blk.0.surprise.weight";
            })),
            ErrorKind::kBadFile);
  EXPECT_EQ(kind(rewrite([&](auto& t) {
              auto& tensor = *std::ranges::find_if(t, named("blk.0.attn_k.weight"));
              std::swap(tensor.dims[0], tensor.dims[1]);
            })),
            ErrorKind::kBadFile);
}

}  // namespace
}  // namespace conclave::models
