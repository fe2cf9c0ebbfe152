// Small random checkpoints against what the reference implementation computed with them
// (scripts/make_model_goldens.py): the residual stream before every layer, logits, chosen experts,
// loss, and the gradient of every weight. And the design's promise on the same models: one token at
// a time, in chunks, in a batch, alone, on any number of threads, with recomputation: identical
// bits.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "io/safetensors.h"
#include "models/architecture.h"
#include "models/common.h"
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
  std::vector<std::vector<float>> hidden;       // [B*S, D] before each layer, and after the norm
};

// The gradients of a golden, under the names and in the layout of the weights' files.
class StoredGradients final : public StoredRows {
 public:
  explicit StoredGradients(const io::TensorSource& golden) : golden_(golden) {}
  const std::string& path() const override { return golden_.path(); }
  bool has(const std::string& name) const override {
    return golden_.find("grad." + name) != nullptr;
  }
  void check(const TensorPlace&, const ParamSpec&, std::set<std::string>&) const override {}
  std::vector<std::string> names() const override { return golden_.names(); }
  std::uint64_t stored_bytes() const override { return 0; }
  std::set<std::string> stored_types() const override { return {}; }
  QuantType stored_type(const TensorPlace&) const override { return QuantType::kF32; }
  void read_rows(const TensorPlace& place, std::int64_t first,
                 MatrixView<float> out) const override {
    golden_.read_f32_rows(golden_.get("grad." + place.name), first, out);
  }
  std::optional<QuantType> block_type(const TensorPlace&) const override { return {}; }
  void read_blocks(const TensorPlace&, std::int64_t, std::int64_t,
                   std::span<std::byte>) const override {}

 private:
  const io::TensorSource& golden_;
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
    for (std::size_t layer = 0; layer < pass.topk.size(); ++layer) {
      const int k = config_.ffn_L[layer].router.k;
      pass.topk[layer].resize(static_cast<std::size_t>(batch_ * length_ * k));
    }
    pass.hidden.assign(static_cast<std::size_t>(config_.n_layers) + 1,
                       std::vector<float>(static_cast<std::size_t>(batch_ * length_) *
                                          static_cast<std::size_t>(config_.d_model)));
    nn::Activations activations;
    for (std::int64_t s = 0; s < batch_; s += together) {
      for (std::int64_t p = 0; p < length_; p += chunk) {
        step(context, transformer, s, std::min(together, batch_ - s), p,
             std::min(chunk, length_ - p), caches, activations, pass);
      }
    }
    return pass;
  }

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
    options.layer_observer = [&](int layer, MatrixView<const float> x) {
      for (std::size_t row = 0; row < places.size(); ++row) {
        std::copy_n(x.row(static_cast<std::int64_t>(row)), x.cols,
                    &pass.hidden[static_cast<std::size_t>(layer)]
                                [static_cast<std::size_t>(places[row] * x.cols)]);
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
  for (int layer = 0; layer <= config_.n_layers; ++layer) {
    const std::vector<float> expected = floats("hidden." + std::to_string(layer));
    EXPECT_LE(largest_difference(pass.hidden[static_cast<std::size_t>(layer)], expected),
              1e-4 * largest(expected))
        << "layer " << layer;
  }
  for (int layer = 0; layer < config_.n_layers; ++layer) {
    if (config_.ffn_L[static_cast<std::size_t>(layer)].dense()) continue;
    const io::TensorInfo& info = golden_.get("topk." + std::to_string(layer));
    std::vector<std::int64_t> expected(static_cast<std::size_t>(info.count()));
    golden_.read_bytes(info, 0, std::as_writable_bytes(std::span(expected)));
    const auto& found = pass.topk[static_cast<std::size_t>(layer)];
    EXPECT_TRUE(std::equal(found.begin(), found.end(), expected.begin(), expected.end()))
        << "experts of layer " << layer;
  }
}

TEST_P(Golden, SameBitsInChunksBatchesAndThreads) {
  struct Way {
    int threads;
    std::int64_t chunk, together;
  };
  const Way ways[] = {{1, 1, 1}, {1, 5, batch_}, {2, length_, 1}, {3, 7, batch_}};
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    ops::Context one(1);
    const auto transformer = load(one, false, compute);
    const Pass expected = run(one, *transformer, length_, batch_);
    for (const Way& way : ways) {
      ops::Context context(way.threads);
      const Pass pass = run(context, *transformer, way.chunk, way.together);
      EXPECT_EQ(0, std::memcmp(pass.logits.data(), expected.logits.data(),
                               expected.logits.size() * sizeof(float)))
          << dtype_name(compute) << ", " << way.threads << " threads, chunks of " << way.chunk
          << ", " << way.together << " sequences together";
    }
  }
}

TEST_P(Golden, GradientsEqualTheReference) {
  if (golden_.find("loss") == nullptr) GTEST_SKIP() << "a golden without gradients";
  try {
    nn::check_trainable(config_);
  } catch (const Error& error) {
    GTEST_SKIP() << error.message();
  }
  const StoredGradients stored(golden_);
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
    const ParameterSet& parameters = transformer->parameters();
    for (int i = 0; i < static_cast<int>(parameters.specs().size()); ++i) {
      const ParamSpec& spec = parameters.specs()[static_cast<std::size_t>(i)];
      if (!spec.trained) continue;
      const MatrixView<float> view = parameters.gradient(i);
      std::vector<float> expected(static_cast<std::size_t>(view.rows * view.cols));
      read_place(stored, architecture.place(spec, config_, stored),
                 {expected.data(), view.rows, view.cols});
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

// A config.json that is written from the recipe says the same as the published one.
TEST_P(Golden, ConfigSurvivesBeingWritten) {
  const Architecture& architecture = find_architecture(config_.architecture);
  const nlohmann::json json = architecture.write(config_);
  const nn::TransformerConfig again = architecture.parse(io::JsonView(json, "config.json"));
  EXPECT_EQ(recipe_difference(config_, again), "");
  EXPECT_EQ(again.rope.stored_in_pairs, config_.rope.stored_in_pairs);
  nn::validate(again);
}

// What is read into the engine's layout and put back is the file, bit for bit: no element is
// missing, taken twice, or in another's place.
TEST_P(Golden, PlacesCoverTheFile) {
  const SafetensorsRows rows(directory_.string());
  const Architecture& architecture = find_architecture(config_.architecture);
  const nn::Transformer transformer(config_);
  std::map<std::string, FloatMatrix> files;
  for (const ParamSpec& spec : transformer.specs()) {
    const TensorPlace place = architecture.place(spec, config_, rows);
    if (place.mxfp4) continue;
    const Shape shape{std::span<const std::int64_t>(place.dims)};
    const std::int64_t cols = place.dims.back();
    if (!files.contains(place.name)) {
      const MatrixView<float> empty = files[place.name].resize(shape.count() / cols, cols);
      std::fill_n(empty.data, shape.count(), std::nanf(""));
    }
    const std::int64_t width = spec.shape[spec.shape.rank() - 1];
    FloatMatrix weight;
    const MatrixView<float> view = weight.resize(spec.shape.count() / width, width);
    read_place(rows, place, view);
    scatter_place(place, view, files[place.name].view());
  }
  for (const auto& [name, found] : files) {
    TensorPlace all;
    all.name = name;
    FloatMatrix stored;
    const MatrixView<const float> view = found.view();
    rows.read_rows(all, 0, stored.resize(view.rows, view.cols));
    EXPECT_EQ(0, std::memcmp(stored.view().data, view.data,
                             static_cast<std::size_t>(view.rows * view.cols) * sizeof(float)))
        << name;
  }
}

std::vector<std::string> cases() {
  std::vector<std::string> names;
  for (const auto& entry :
       fs::directory_iterator(fs::path(CONCLAVE_SOURCE_DIR) / "tests/goldens/models")) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Every architecture has a golden.
TEST(Goldens, CoverTheRegistry) {
  std::set<std::string> covered;
  for (const std::string& name : cases()) {
    const auto directory = fs::path(CONCLAVE_SOURCE_DIR) / "tests/goldens/models" / name;
    covered.insert(read_config(directory.string()).architecture);
  }
  for (const Architecture* architecture : registry()) {
    if (architecture == registry().back()) continue;  // the research type has no reference
    EXPECT_TRUE(covered.contains(architecture->model_type)) << architecture->model_type;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Golden, ::testing::ValuesIn(cases()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace conclave::models
