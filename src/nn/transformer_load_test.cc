// Models whose source offers blocks of quantised types: the logits against those of the same
// weights in f32, in all combinations that files have.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>

#include "kernels/qmatmul/qmatmul_testing.h"
#include "nn/transformer.h"

namespace conclave::nn {
namespace {

TransformerConfig small_config(bool tied) {
  TransformerConfig config;
  config.vocab_size = 51;
  config.d_model = 256;
  config.n_layers = 2;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.head_dim = 64;
  config.max_positions = 64;
  config.tie_embeddings = tied;
  moe::LayerConfig ffn;
  ffn.router.n_experts = 4;
  ffn.router.k = 4;  // all: a choice that turns on the last bits would change the logits at once
  ffn.d_expert = 256;
  config.ffn_L = {ffn, ffn};
  return config;
}

// As a mixed file stores them: most in one type, the value map and every other w_down in another.
QuantType type_of(const ParamId& id) {
  if (id.role == Role::kEmbedding) return QuantType::kQ8_0;
  if (id.role == Role::kValue || id.role == Role::kHead) return QuantType::kQ6_K;
  if (id.role == Role::kExpertDown && id.expert % 2 == 1) return QuantType::kQ5_0;
  return QuantType::kQ4_K;
}

// For weights of about 0.06: scores of attention stay small.
double factor(QuantType type) {
  switch (type) {
    case QuantType::kQ4_K:
      return 0.06 / 250;
    case QuantType::kQ6_K:
      return 0.06 / 1000;
    case QuantType::kQ8_0:
      return 0.06 / 64;
    default:
      return 0.06 / 8;
  }
}

class Blocks final : public WeightSource {
 public:
  explicit Blocks(bool offered) : offered_(offered) {}

  void read(const ParamSpec& spec, MatrixView<float> out) override {
    if (!in_blocks(spec)) {  // norms near 1, routers of a useful size
      for (std::int64_t i = 0; i < out.rows * out.cols; ++i) {
        out.row(i / out.cols)[i % out.cols] =
            out.rows == 1 ? 1.0f
                          : 0.1f * static_cast<float>(Rng(7).normal(static_cast<std::uint64_t>(i)));
      }
      return;
    }
    const auto blocks = make(spec);
    const std::int64_t row = quant_bytes(type_of(spec.id), out.cols);
    for (std::int64_t r = 0; r < out.rows; ++r) {
      dequantize(type_of(spec.id), blocks.data() + r * row, out.cols, out.row(r));
    }
  }
  std::optional<QuantType> block_type(const ParamSpec& spec) const override {
    if (!offered_ || !in_blocks(spec)) return std::nullopt;
    return type_of(spec.id);
  }
  void read_blocks(const ParamSpec& spec, std::span<std::byte> out) override {
    if (++reads_ == fails_at) fail(ErrorKind::kIo, "{}: no such disk", describe(spec.id));
    const auto blocks = make(spec);
    ASSERT_EQ(blocks.size(), out.size());
    std::memcpy(out.data(), blocks.data(), out.size());
  }

  int fails_at = 0;

 private:
  static bool in_blocks(const ParamSpec& spec) {
    return spec.shape.rank() == 2 && spec.id.role != Role::kRouter;
  }
  static std::vector<std::byte> make(const ParamSpec& spec) {
    const auto seed = static_cast<std::uint64_t>(static_cast<int>(spec.id.role) * 1000 +
                                                 spec.id.layer * 100 + spec.id.expert + 500);
    const QuantType type = type_of(spec.id);
    return testing::random_blocks(type, spec.shape.count(), seed, factor(type));
  }
  bool offered_;
  std::atomic<int> reads_{0};
};

// Weights that f16 holds, which their file says or does not.
class Halves final : public WeightSource {
 public:
  explicit Halves(bool told) : told_(told) {}
  void read(const ParamSpec& spec, MatrixView<float> out) override {
    blocks_.read(spec, out);
    for (std::int64_t i = 0; i < out.rows * out.cols; ++i) {
      float& value = out.row(i / out.cols)[i % out.cols];
      value = to_float(to_f16(value));
    }
  }
  QuantType stored_type(const ParamSpec&) const override {
    return told_ ? QuantType::kF16 : QuantType::kF32;
  }

 private:
  Blocks blocks_{false};
  bool told_;
};

std::vector<float> logits(Transformer& transformer, ops::Context& context) {
  const std::vector<std::int32_t> ids = {3, 50, 0, 17, 17, 42, 8};
  const auto T = static_cast<std::int64_t>(ids.size());
  const auto cache = transformer.new_cache(T);
  Batch batch;
  batch.ids_T = ids;
  batch.chunks.push_back({cache.get(), 0, T, 0});
  Activations activations;
  transformer.forward(context, batch, {}, activations);
  const std::int64_t V = transformer.config().vocab_size;
  std::vector<float> out(static_cast<std::size_t>(T * V));
  transformer.logits(context, activations.out.view(), {out.data(), T, V});
  return out;
}

// Sum of squared differences over sum of squares.
double relative_error(const std::vector<float>& found, const std::vector<float>& expected) {
  double error = 0, size = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    error += std::pow(static_cast<double>(found[i]) - expected[i], 2);
    size += std::pow(static_cast<double>(expected[i]), 2);
  }
  EXPECT_GT(size, 0);
  return error / size;
}

TEST(LoadForInference, BlocksComputeWhatTheirNumbersDo) {
  for (bool tied : {false, true}) {
    ops::Context context(2);
    Blocks plain(false), blocks(true);
    Transformer exact(small_config(tied)), quantised(small_config(tied));
    exact.load_for_inference(context, plain, DType::kF32);
    quantised.load_for_inference(context, blocks, DType::kBF16);
    const std::vector<float> expected = logits(exact, context);
    const std::vector<float> found = logits(quantised, context);
    // Of int8 activations.
    EXPECT_LE(relative_error(found, expected), 1e-3) << (tied ? "tied" : "untied");
    EXPECT_LT(quantised.weight_bytes(), exact.weight_bytes() / 4);

    ops::Context one(1);
    Transformer again(small_config(tied));
    again.load_for_inference(one, blocks, DType::kBF16);
    const std::vector<float> same = logits(again, one);
    EXPECT_EQ(std::memcmp(same.data(), found.data(), same.size() * sizeof(float)), 0);
  }
}

TEST(LoadForInference, HalvesKeepTheirBits) {
  ops::Context context(2);
  Halves told(true), untold(false);
  Transformer exact(small_config(false)), halves(small_config(false)), rounded(small_config(false));
  exact.load_for_inference(context, told, DType::kF32);
  halves.load_for_inference(context, told, DType::kBF16);
  rounded.load_for_inference(context, untold, DType::kBF16);
  const std::vector<float> expected = logits(exact, context);
  // Keys and values are cached in f16 in both.
  EXPECT_LE(relative_error(logits(halves, context), expected), 1e-7);
  EXPECT_GE(relative_error(logits(rounded, context), expected), 1e-6);
  EXPECT_EQ(halves.weight_bytes(), rounded.weight_bytes());
}

TEST(LoadForInference, TiedEmbeddingsAreInMemoryOnce) {
  ops::Context context(1);
  Blocks blocks(true);
  TransformerConfig tied = small_config(true), untied = small_config(false);
  tied.vocab_size = untied.vocab_size = 4096;
  Transformer a(tied), b(untied);
  a.load_for_inference(context, blocks, DType::kBF16);
  b.load_for_inference(context, blocks, DType::kBF16);
  const auto head = static_cast<double>(quant_bytes(QuantType::kQ6_K, 4096 * 256));
  // A panel of one super-block a row is rounded up to whole cache lines.
  EXPECT_NEAR(static_cast<double>(b.weight_bytes() - a.weight_bytes()), head, 0.01 * head);
}

TEST(LoadForInference, AnErrorOfTheSourceComesThrough) {
  for (int threads : {1, 3}) {
    ops::Context context(threads);
    Blocks blocks(true);
    blocks.fails_at = 9;
    Transformer transformer(small_config(false));
    EXPECT_THROW(transformer.load_for_inference(context, blocks, DType::kBF16), Error);
  }
}

}  // namespace
}  // namespace conclave::nn
