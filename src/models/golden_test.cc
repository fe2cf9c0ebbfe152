// Small random checkpoints against what the reference implementation computed with them
// (scripts/make_model_goldens.py): logits, chosen experts, loss, and the gradient of every weight.
// And the design's promise on the same models: one token at a time, in chunks, in a batch, alone,
// on any number of threads, with recomputation: identical bits.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <set>

#include "io/safetensors.h"
#include "models/architecture.h"
#include "models/model_files.h"
#include "nn/loss_head.h"
#include "nn/transformer.h"

namespace conclave::models {
namespace {

namespace fs = std::filesystem;

// What was computed, as plain arrays.
struct Pass {
  std::vector<float> logits;                    // [B*S, V]
  std::vector<std::vector<std::int32_t>> topk;  // per layer [B*S, K], sorted within a token
};

class Golden : public ::testing::TestWithParam<std::string> {
 protected:
  Golden()
      : directory_(fs::path(CONCLAVE_SOURCE_DIR) / "tests/goldens/models" / GetParam()),
        golden_((directory_ / "golden.safetensors").string()),
        config_(read_config(directory_.string())) {
    const io::TensorInfo& ids = golden_.get("ids");
    batch_ = ids.dims[0];
    length_ = ids.dims[1];
    std::vector<std::int64_t> values(static_cast<std::size_t>(ids.count()));
    golden_.read_bytes(ids, 0, std::as_writable_bytes(std::span(values)));
    ids_.assign(values.begin(), values.end());
  }

  std::vector<float> floats(const std::string& name) const {
    const io::TensorInfo& info = golden_.get(name);
    std::vector<float> values(static_cast<std::size_t>(info.count()));
    golden_.read_f32(name, Shape(std::span<const std::int64_t>(info.dims)),
                     std::span<float>(values));
    return values;
  }

  std::unique_ptr<nn::Transformer> load(ops::Context& context, bool training, DType compute) const {
    auto transformer = std::make_unique<nn::Transformer>(config_);
    FileWeights weights(directory_.string(), config_);
    weights.check(transformer->specs());
    if (training) {
      transformer->load_for_training(context, weights, compute);
    } else {
      transformer->load_for_inference(context, weights, compute);
    }
    return transformer;
  }

  // All sequences, each fed in pieces of `chunk` tokens, `together` sequences in one batch.
  Pass run(ops::Context& context, nn::Transformer& transformer, std::int64_t chunk,
           std::int64_t together) const {
    Pass pass;
    const std::int64_t V = config_.vocab_size;
    pass.logits.resize(static_cast<std::size_t>(batch_ * length_ * V));
    pass.topk.resize(static_cast<std::size_t>(config_.n_layers));
    std::vector<std::unique_ptr<nn::KvCache>> caches;
    for (std::int64_t s = 0; s < batch_; ++s) caches.push_back(transformer.new_cache(length_));
    for (auto& layer : pass.topk)
      layer.resize(static_cast<std::size_t>(batch_ * length_ * slots()));
    nn::Activations activations;
    for (std::int64_t s = 0; s < batch_; s += together) {
      for (std::int64_t p = 0; p < length_; p += chunk) {
        step(context, transformer, s, std::min(together, batch_ - s), p,
             std::min(chunk, length_ - p), caches, activations, pass);
      }
    }
    return pass;
  }

  int slots() const { return config_.ffn_L[0].router.k; }

  void step(ops::Context& context, nn::Transformer& transformer, std::int64_t first,
            std::int64_t sequences, std::int64_t position, std::int64_t n,
            const std::vector<std::unique_ptr<nn::KvCache>>& caches, nn::Activations& activations,
            Pass& pass) const {
    nn::Batch batch;
    std::vector<std::int32_t> ids;
    std::vector<std::int64_t> places;  // of each row in the golden's order
    for (std::int64_t s = first; s < first + sequences; ++s) {
      batch.chunks.push_back({caches[static_cast<std::size_t>(s)].get(),
                              static_cast<std::int64_t>(ids.size()), n, position});
      for (std::int64_t i = 0; i < n; ++i) {
        places.push_back(s * length_ + position + i);
        ids.push_back(ids_[static_cast<std::size_t>(places.back())]);
      }
    }
    batch.ids_T = ids;
    nn::ForwardOptions options;
    options.observer = [&](int layer, const moe::RoutingDecision& d, const moe::DispatchPlan&) {
      for (std::size_t row = 0; row < places.size(); ++row) {
        auto* out = &pass.topk[static_cast<std::size_t>(layer)]
                              [static_cast<std::size_t>(places[row] * d.k)];
        std::copy_n(&d.topk_ids_TK[row * static_cast<std::size_t>(d.k)], d.k, out);
        std::sort(out, out + d.k);
      }
    };
    transformer.forward(context, batch, options, activations);
    const std::int64_t V = config_.vocab_size;
    FloatMatrix logits;
    transformer.logits(context, activations.out.view(), logits.resize(batch.n_tokens(), V));
    for (std::size_t row = 0; row < places.size(); ++row) {
      std::copy_n(logits.view().row(static_cast<std::int64_t>(row)), V,
                  &pass.logits[static_cast<std::size_t>(places[row] * V)]);
    }
  }

  fs::path directory_;
  io::TensorSource golden_;
  nn::TransformerConfig config_;
  std::int64_t batch_ = 0, length_ = 0;
  std::vector<std::int32_t> ids_;
};

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = a.size() == b.size() ? 0 : 1e30;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double d = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(d <= worst)) worst = std::isnan(d) ? 1e30 : d;
  }
  return worst;
}

double largest(const std::vector<float>& a) {
  double worst = 0;
  for (float x : a) worst = std::max(worst, std::abs(static_cast<double>(x)));
  return worst;
}

TEST_P(Golden, LogitsAndExpertsEqualTheReference) {
  ops::Context context(2);
  const auto transformer = load(context, /*training=*/false, DType::kF32);
  const Pass pass = run(context, *transformer, length_, batch_);
  EXPECT_LE(largest_difference(pass.logits, floats("logits")), 1e-4);
  for (int layer = 0; layer < config_.n_layers; ++layer) {
    if (config_.ffn_L[static_cast<std::size_t>(layer)].dense()) continue;
    const io::TensorInfo& info = golden_.get("topk." + std::to_string(layer));
    std::vector<std::int64_t> expected(static_cast<std::size_t>(info.count()));
    golden_.read_bytes(info, 0, std::as_writable_bytes(std::span(expected)));
    const auto& found = pass.topk[static_cast<std::size_t>(layer)];
    EXPECT_TRUE(std::equal(found.begin(), found.end(), expected.begin(), expected.end()));
  }
}

TEST_P(Golden, SameBitsInChunksBatchesAndThreads) {
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    ops::Context one(1);
    const auto reference = load(one, false, compute);
    const Pass expected = run(one, *reference, length_, batch_);
    for (const int threads : {1, 2, 3}) {
      ops::Context context(threads);
      const auto transformer = load(context, false, compute);
      for (const std::int64_t chunk : {std::int64_t{1}, std::int64_t{5}, length_}) {
        for (const std::int64_t together : {std::int64_t{1}, batch_}) {
          const Pass pass = run(context, *transformer, chunk, together);
          EXPECT_EQ(0, std::memcmp(pass.logits.data(), expected.logits.data(),
                                   expected.logits.size() * sizeof(float)))
              << dtype_name(compute) << ", " << threads << " threads, chunks of " << chunk << ", "
              << together << " sequences together";
        }
      }
    }
  }
}

TEST_P(Golden, GradientsEqualTheReference) {
  std::vector<float> plain;  // the flat gradient of the first round
  for (const bool recompute : {false, true}) {
    ops::Context context(recompute ? 1 : 2);
    const auto transformer = load(context, /*training=*/true, DType::kF32);
    nn::Batch batch;
    batch.ids_T = ids_;
    std::vector<std::unique_ptr<nn::KvCache>> caches;
    std::vector<std::int32_t> targets(ids_.begin() + 1, ids_.end());
    targets.push_back(-1);
    for (std::int64_t s = 0; s < batch_; ++s) {
      caches.push_back(transformer->new_cache(length_));
      batch.chunks.push_back({caches.back().get(), s * length_, length_, 0});
      targets[static_cast<std::size_t>((s + 1) * length_ - 1)] = -1;
    }
    nn::Activations activations;
    activations.keep = true;
    activations.recompute = recompute;
    transformer->forward(context, batch, {}, activations);
    const std::int64_t T = batch.n_tokens();
    FloatMatrix d_out;
    std::vector<float> nll(static_cast<std::size_t>(T));
    const auto predicted = static_cast<float>(batch_ * (length_ - 1));
    nn::head_loss_backward(context, *transformer, activations.out.view(), targets, 1 / predicted,
                           d_out.resize(T, config_.d_model), nll.data());
    double loss = 0;
    for (float value : nll) loss += static_cast<double>(value) / static_cast<double>(predicted);
    EXPECT_NEAR(loss, static_cast<double>(floats("loss")[0]), 1e-5);
    transformer->backward(context, batch, {}, activations, d_out.view());

    const Architecture& architecture = find_architecture(config_.architecture);
    const SafetensorsRows names(directory_.string());
    const ParameterSet& parameters = transformer->parameters();
    for (int i = 0; i < static_cast<int>(parameters.specs().size()); ++i) {
      const ParamSpec& spec = parameters.specs()[static_cast<std::size_t>(i)];
      const std::vector<float> expected =
          floats("grad." + architecture.place(spec, config_, names).name);
      const MatrixView<float> view = parameters.gradient(i);
      const std::vector<float> found(view.data, view.data + view.rows * view.cols);
      EXPECT_LE(largest_difference(found, expected), 1e-5 + 1e-4 * largest(expected))
          << describe(spec.id);
    }
    const auto all = parameters.gradients();
    if (!recompute) {
      plain.assign(all.begin(), all.end());
    } else {
      EXPECT_EQ(0, std::memcmp(plain.data(), all.data(), plain.size() * sizeof(float)));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Golden,
                         ::testing::Values("mixtral", "mixtral_window", "mixtral_heads", "llama"));

}  // namespace
}  // namespace conclave::models
