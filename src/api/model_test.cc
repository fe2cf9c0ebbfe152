// The installed API against what the reference implementation computed, against itself where one
// answer follows from another (likelihood from logits, windows from pieces), and with arguments
// that make no sense.

#include <conclave/conclave.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "io/safetensors.h"

namespace conclave {
namespace {

namespace fs = std::filesystem;

const std::string kGolden =
    (fs::path(CONCLAVE_SOURCE_DIR) / "tests/goldens/models/mixtral").string();

// One sequence of the golden file, and what belongs to it.
struct Sequence {
  std::vector<std::int32_t> ids;
  std::vector<float> logits;                      // [T, V]
  std::vector<std::vector<std::int64_t>> topk_L;  // [T, K] each, sorted within a token

  Sequence() {
    const io::TensorSource file((fs::path(kGolden) / "golden.safetensors").string());
    const std::vector<std::int64_t> all = integers(file, "ids");
    const auto n = static_cast<std::ptrdiff_t>(file.get("ids").dims[1]);
    ids.assign(all.begin(), all.begin() + n);
    const io::TensorInfo& info = file.get("logits");
    std::vector<float> scores(static_cast<std::size_t>(info.count()));
    file.read_f32("logits", Shape(std::span<const std::int64_t>(info.dims)),
                  std::span<float>(scores));
    logits.assign(scores.begin(), scores.begin() + n * 97);
    for (const char* name : {"topk.0", "topk.1"}) {
      const std::vector<std::int64_t> experts = integers(file, name);
      topk_L.emplace_back(experts.begin(), experts.begin() + n * 2);
    }
  }

  static std::vector<std::int64_t> integers(const io::TensorSource& file, const char* name) {
    const io::TensorInfo& info = file.get(name);
    std::vector<std::int64_t> values(static_cast<std::size_t>(info.count()));
    file.read_bytes(info, 0, std::as_writable_bytes(std::span(values)));
    return values;
  }
};

LoadOptions threads(int n) {
  LoadOptions options;
  options.threads = n;
  return options;
}

template <class Body>
void expect_error(ErrorKind kind, const Body& body) {
  try {
    body();
    ADD_FAILURE() << "nothing was thrown, expected: " << error_kind_name(kind);
  } catch (const Error& error) {
    EXPECT_EQ(error_kind_name(error.kind()), std::string(error_kind_name(kind))) << error.what();
    EXPECT_FALSE(error.message().empty());
  }
}

// The golden model with a tokenizer of its own: letters and the space, one token each, from id 3.
class WithTokenizer : public ::testing::Test {
 protected:
  WithTokenizer() : directory_(fs::path(::testing::TempDir()) / "conclave_api_model") {
    fs::remove_all(directory_);
    fs::create_directories(directory_);
    for (const char* name : {"config.json", "model.safetensors"}) {
      fs::copy_file(fs::path(kGolden) / name, directory_ / name);
    }
    std::string vocabulary = R"("\u0120": 29)";
    for (char c = 'a'; c <= 'z'; ++c) {
      vocabulary += std::string(", \"") + c + "\": " + std::to_string(3 + c - 'a');
    }
    std::ofstream(directory_ / "tokenizer.json")
        << R"({"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer":
             {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
              "use_regex": true}, "post_processor": null, "decoder": {"type": "ByteLevel",
              "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
             "model": {"type": "BPE", "dropout": null, "unk_token": null,
              "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
              "byte_fallback": false, "vocab": {)"
        << vocabulary << R"(}, "merges": []}})";
  }
  ~WithTokenizer() override { fs::remove_all(directory_); }

  std::string path() const { return directory_.string(); }

  // Letters alone can be drawn, so that every token gives text.
  static GenerateOptions letters(std::int64_t n) {
    GenerateOptions options;
    options.max_tokens = n;
    for (int id = 3; id < 29; ++id) options.sampling.logit_bias[id] = 1000;
    return options;
  }

  fs::path directory_;
};

TEST(Info, IsThatOfTheFiles) {
  const ModelInfo info = read_model_info(kGolden);
  EXPECT_EQ(info.stored_type, "F32");
  EXPECT_EQ(info.vocab_size, 97);
  EXPECT_EQ(info.context, 128);
  EXPECT_EQ(info.width, 32);
  EXPECT_EQ(info.eos_id, 2);
  // By hand: 2 (97 * 32) + 32 + 2 (2 * 32 + 2 * 32 * 32 + 2 * 16 * 32 + 8 * 32 + 8 * 3 * 32 * 48).
  EXPECT_EQ(info.params_total, 86752);
  EXPECT_EQ(info.params_active, 28384);
  EXPECT_EQ(info.stored_bytes, 4 * 86752);
  ASSERT_EQ(info.layers.size(), 2u);
  EXPECT_EQ(info.layers[1].n_experts, 8);
  EXPECT_EQ(info.layers[1].experts_per_token, 2);
  EXPECT_EQ(info.layers[1].expert_width, 48);
  EXPECT_NE(info.layers[1].router.find("8 experts"), std::string::npos);
  const Model model(kGolden, threads(1));
  EXPECT_EQ(model.info().params_total, info.params_total);
  EXPECT_EQ(model.compute(), Compute::kF32);
  EXPECT_EQ(model.threads(), 1);
  EXPECT_FALSE(model.has_tokenizer());
  EXPECT_STREQ(version(), CONCLAVE_VERSION);
}

TEST(Ids, LogitsAndRoutingEqualTheReference) {
  const Sequence sequence;
  Model model(kGolden, threads(2));
  const Logits logits = model.logits(sequence.ids);
  ASSERT_EQ(logits.rows, static_cast<std::int64_t>(sequence.ids.size()));
  ASSERT_EQ(logits.cols, 97);
  ASSERT_EQ(logits.values.size(), sequence.logits.size());
  for (std::size_t i = 0; i < logits.values.size(); ++i) {
    ASSERT_NEAR(logits.values[i], sequence.logits[i], 1e-4) << i;
  }
  EXPECT_EQ(logits.row(3)[5], logits.values[3 * 97 + 5]);
  const Routing routing = model.routing(sequence.ids);
  EXPECT_EQ(routing.n_tokens, logits.rows);
  ASSERT_EQ(routing.layers.size(), 2u);
  for (std::size_t layer = 0; layer < 2; ++layer) {
    const LayerRouting& found = routing.layers[layer];
    EXPECT_EQ(found.layer, static_cast<int>(layer));
    ASSERT_EQ(found.experts_TK.size(), sequence.topk_L[layer].size());
    ASSERT_EQ(found.weights_TK.size(), found.experts_TK.size());
    for (std::size_t t = 0; t < found.experts_TK.size(); t += 2) {
      const auto [a, b] = std::minmax(found.experts_TK[t], found.experts_TK[t + 1]);
      EXPECT_EQ(a, sequence.topk_L[layer][t]);
      EXPECT_EQ(b, sequence.topk_L[layer][t + 1]);
      EXPECT_GE(found.weights_TK[t], found.weights_TK[t + 1]);
      EXPECT_NEAR(found.weights_TK[t] + found.weights_TK[t + 1], 1, 1e-6);
    }
  }
}

TEST(Ids, NarrowKeysAndValuesChangeLittle) {
  const Sequence sequence;
  const auto distance = [&](KeyValues type) {
    LoadOptions options = threads(1);
    options.key_values = type;
    const Logits logits = Model(kGolden, options).logits(sequence.ids);
    double most = 0;
    for (std::size_t i = 0; i < logits.values.size(); ++i) {
      most = std::max(most, std::abs(double{logits.values[i]} - double{sequence.logits[i]}));
    }
    return most;
  };
  const double f32 = distance(KeyValues::kF32), f16 = distance(KeyValues::kF16),
               q8 = distance(KeyValues::kQ8_0);
  EXPECT_EQ(distance(KeyValues::kAuto), f32) << "the model is f32";
  EXPECT_GT(f16, f32);
  EXPECT_LT(f16, 1e-2);
  EXPECT_GT(q8, f16);
  EXPECT_LT(q8, 1e-1);
}

TEST(Ids, LikelihoodFollowsFromLogits) {
  const Sequence sequence;
  const std::span<const std::int32_t> ids = sequence.ids;
  Model model(kGolden, threads(1));
  const auto nll_of = [&](std::span<const std::int32_t> inputs, std::size_t first_target) {
    const Logits logits = model.logits(inputs);
    double sum = 0;
    for (std::int64_t t = 0; t < logits.rows; ++t) {
      double mass = 0;
      for (const float z : logits.row(t)) mass += std::exp(static_cast<double>(z));
      const auto target = static_cast<std::size_t>(ids[first_target + static_cast<std::size_t>(t)]);
      sum += std::log(mass) - static_cast<double>(logits.row(t)[target]);
    }
    return sum;
  };
  const Likelihood whole = model.likelihood(ids);
  EXPECT_EQ(whole.tokens, static_cast<std::int64_t>(ids.size()) - 1);
  EXPECT_NEAR(whole.nll, nll_of(ids.first(ids.size() - 1), 1), 1e-3);
  double pieces = 0;
  for (std::size_t begin = 0; begin + 1 < ids.size(); begin += 5) {
    const std::size_t n = std::min<std::size_t>(5, ids.size() - 1 - begin);
    pieces += nll_of(ids.subspan(begin, n), begin + 1);
  }
  EXPECT_NEAR(model.likelihood(ids, 5).nll, pieces, 1e-3);
  EXPECT_GT(std::abs(pieces - whole.nll), 1e-2);  // else the windows were not tested
}

TEST(Ids, RoutingInWindowsIsThatOfThePieces) {
  const Sequence sequence;
  const std::span<const std::int32_t> ids = sequence.ids;
  Model model(kGolden, threads(1));
  const Routing whole = model.routing(ids, 5);
  EXPECT_EQ(whole.n_tokens, static_cast<std::int64_t>(ids.size()));
  for (std::size_t begin = 0; begin < ids.size(); begin += 5) {
    const std::size_t n = std::min<std::size_t>(5, ids.size() - begin);
    const Routing piece = model.routing(ids.subspan(begin, n));
    for (std::size_t layer = 0; layer < 2; ++layer) {
      EXPECT_TRUE(std::equal(
          piece.layers[layer].weights_TK.begin(), piece.layers[layer].weights_TK.end(),
          whole.layers[layer].weights_TK.begin() + static_cast<std::ptrdiff_t>(2 * begin)));
    }
  }
  EXPECT_NE(model.routing(ids).layers[1].weights_TK, whole.layers[1].weights_TK);
}

TEST(Ids, StatisticsCountEveryPass) {
  const Sequence sequence;
  const auto n = static_cast<std::int64_t>(sequence.ids.size());
  Model model(kGolden, threads(1));
  EXPECT_TRUE(model.routing_statistics().empty());
  model.routing(sequence.ids);
  model.logits(sequence.ids);
  model.likelihood(sequence.ids);  // the last token is predicted, not read
  const std::vector<LayerStatistics> statistics = model.routing_statistics();
  ASSERT_EQ(statistics.size(), 2u);
  for (const LayerStatistics& layer : statistics) {
    EXPECT_EQ(layer.tokens, 3 * n - 1);
    EXPECT_EQ(layer.choices, 2 * layer.tokens);
    std::int64_t sum = 0;
    for (const std::int64_t count : layer.tokens_per_expert_E) sum += count;
    EXPECT_EQ(sum, layer.choices);
    EXPECT_GT(layer.load_entropy, 0);
  }
  EXPECT_NE(model.routing_statistics_json().find("conclave.routing/1"), std::string::npos);
  model.reset_routing_statistics();
  EXPECT_TRUE(model.routing_statistics().empty());
}

TEST(Errors, HaveTheirKind) {
  using std::vector;
  expect_error(ErrorKind::kNotFound, [] { Model("/there/is/no/such/model"); });
  expect_error(ErrorKind::kInvalidArgument, [] { Model(kGolden, threads(-1)); });
  Model model(kGolden, threads(1));
  const auto invalid = ErrorKind::kInvalidArgument;
  expect_error(invalid, [&] { model.logits(vector<std::int32_t>{1, 97}); });
  expect_error(invalid, [&] { model.routing(vector<std::int32_t>{-1}); });
  expect_error(invalid, [&] { model.logits(vector<std::int32_t>(129, 1)); });
  expect_error(invalid, [&] { model.likelihood(vector<std::int32_t>{1}); });
  expect_error(invalid, [&] { model.routing(vector<std::int32_t>{1, 2}, -1); });
  expect_error(ErrorKind::kNotFound, [&] { model.generate("text"); });
  expect_error(ErrorKind::kNotFound, [&] { model.encode("text"); });
  EXPECT_EQ(model.logits(vector<std::int32_t>{}).rows, 0);
  EXPECT_EQ(model.routing(vector<std::int32_t>{}).n_tokens, 0);
  EXPECT_EQ(model.logits(vector<std::int32_t>{1, 2}).rows, 2);  // and it is still usable
}

TEST_F(WithTokenizer, EncodesAndDecodes) {
  const Model model(path(), threads(1));
  const std::vector<std::int32_t> ids = model.encode("ab c");
  EXPECT_EQ(ids, (std::vector<std::int32_t>{3, 4, 29, 5}));
  EXPECT_EQ(model.decode(ids), "ab c");
}

TEST_F(WithTokenizer, TextIsTheSameAsItsIds) {
  Model model(path(), threads(1));
  const std::string text = "the quick brown fox";
  const std::vector<std::int32_t> ids = model.encode(text, false);
  const Likelihood by_text = model.likelihood(text), by_ids = model.likelihood(ids);
  EXPECT_EQ(by_text.nll, by_ids.nll);
  EXPECT_EQ(by_text.bytes, static_cast<std::int64_t>(text.size()) - 1);
  EXPECT_EQ(by_ids.bytes, 0);
  EXPECT_EQ(model.routing(text).layers[1].weights_TK, model.routing(ids).layers[1].weights_TK);
}

TEST_F(WithTokenizer, GeneratesTheSameWhateverChunksAndThreads) {
  GenerateOptions options = letters(20);
  options.sampling.temperature = 1;
  options.sampling.seed = 7;
  std::string expected;
  for (const int n : {1, 2}) {
    Model model(path(), threads(n));
    for (const std::int64_t chunk : {1, 512}) {
      options.prefill_chunk = chunk;
      std::string streamed;
      const Generation g = model.generate("once upon", options, [&](std::string_view piece) {
        streamed += piece;
        return true;
      });
      EXPECT_EQ(g.text, streamed);
      EXPECT_EQ(g.text, model.decode(g.ids));
      EXPECT_EQ(g.ids.size(), 20u);
      EXPECT_EQ(g.prompt_tokens, 9);
      EXPECT_EQ(g.finish, FinishReason::kLength);
      if (expected.empty()) expected = g.text;
      EXPECT_EQ(g.text, expected);
    }
  }
  Model model(path(), threads(1));
  options.sampling.seed = 8;
  EXPECT_NE(model.generate("once upon", options).text, expected);
}

TEST_F(WithTokenizer, EndsWhereItIsToldTo) {
  Model model(path(), threads(1));
  GenerateOptions options = letters(30);
  options.sampling.logit_bias = {{3, 5000.0}};  // always "a"
  options.sampling.temperature = 0;
  EXPECT_EQ(model.generate("b", options).text, std::string(30, 'a'));
  options.stop = {"aaaa"};
  const Generation stopped = model.generate("b", options);
  EXPECT_EQ(stopped.finish, FinishReason::kStop);
  EXPECT_EQ(stopped.text, "");
  options.stop.clear();
  int pieces = 0;
  const Generation cancelled =
      model.generate("b", options, [&](std::string_view) { return ++pieces < 3; });
  EXPECT_EQ(cancelled.finish, FinishReason::kCancelled);
  EXPECT_EQ(cancelled.text, "aaa");
  options.sampling.logit_bias = {{2, 5000.0}};  // the end-of-text token
  EXPECT_EQ(model.generate("b", options).finish, FinishReason::kStop);
  options.ignore_eos = true;
  EXPECT_EQ(model.generate("b", options).ids.size(), 30u);
  options.max_tokens = 1000;
  EXPECT_EQ(model.generate("b", options).ids.size(), 127u);  // the context, less the prompt
}

TEST_F(WithTokenizer, RefusesOptionsThatMakeNoSense) {
  Model model(path(), threads(1));
  const auto refuse = [&](auto&& change) {
    GenerateOptions options;
    change(options);
    expect_error(ErrorKind::kInvalidArgument, [&] { model.generate("a", options); });
  };
  refuse([](GenerateOptions& o) { o.max_tokens = -1; });
  refuse([](GenerateOptions& o) { o.prefill_chunk = 0; });
  refuse([](GenerateOptions& o) { o.sampling.temperature = -1; });
  refuse([](GenerateOptions& o) { o.sampling.top_p = std::nan(""); });
  expect_error(ErrorKind::kInvalidArgument, [&] { model.generate(std::string(129, 'a')); });
}

TEST_F(WithTokenizer, WhatTheCallbackThrowsIsTheCallersOwn) {
  Model model(path(), threads(1));
  const GenerateOptions options = letters(5);
  const auto thrower = [](std::string_view) -> bool { throw std::length_error("mine"); };
  EXPECT_THROW(model.generate("a", options, thrower), std::length_error);
  EXPECT_EQ(model.generate("a", options).ids.size(), 5u);
}

}  // namespace
}  // namespace conclave
