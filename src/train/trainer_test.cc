// What a training run promises: it learns; the same bits on any number of threads, after resuming
// at any step, with recomputation; nothing is updated where a number is not finite.

#include "train/trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "train/testing.h"

namespace conclave::train {
namespace {

using testing::TemporaryFolder;
using testing::tiny_recipe;
using testing::tiny_trainer;

std::vector<double> losses(Trainer& trainer, int steps) {
  std::vector<double> result;
  for (int i = 0; i < steps; ++i) result.push_back(trainer.step().loss);
  return result;
}

std::vector<float> weights(Trainer& trainer) {
  const auto values = trainer.transformer().parameters().values();
  return {values.begin(), values.end()};
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(Trainer, LearnsToTellTwoAlphabetsApart) {
  const TemporaryFolder folder;
  ops::Context context(2);
  const auto trainer = tiny_trainer(context, tiny_recipe(folder));
  const std::vector<double> loss = losses(*trainer, 20);
  EXPECT_NEAR(loss.front(), std::log(257.0), 0.1);  // nothing is known at first
  EXPECT_LT(loss.back(), 3.5);                      // 16 letters, space and newline: about log(18)
  const HeldoutReport report = trainer->evaluate_heldout(500);
  EXPECT_EQ(report.by_label.size(), 2u);
  EXPECT_LT(report.mean.nll_per_token, 3.5);
  EXPECT_NEAR(report.mean.nll_per_byte, report.mean.nll_per_token, 0.02);  // bytes are tokens here
}

TEST(Trainer, FiftyStepsOnAnyThreadsGiveTheSameBits) {
  const TemporaryFolder folder;
  io::Recipe recipe = tiny_recipe(folder);
  recipe.set("train.steps=50");
  for (const char* router : {"softmax_topk", "noisy_topk", "sigmoid_bias"}) {
    recipe.set(std::string("router.kind=") + router);
    recipe.set(std::string("router.bias_rate=") + (router[1] == 'i' ? "0.01" : "0"));
    ops::Context one(1), two(2);
    const auto a = tiny_trainer(one, recipe);
    const auto b = tiny_trainer(two, recipe);
    EXPECT_EQ(losses(*a, 50), losses(*b, 50)) << router;
    EXPECT_TRUE(same_bits(weights(*a), weights(*b))) << router;
  }
}

TEST(Trainer, ResumingAtAnyStepGivesTheSameBits) {
  const TemporaryFolder folder;
  io::Recipe recipe = tiny_recipe(folder);
  recipe.set("train.steps=12");
  recipe.set("train.micro_batch=2");
  recipe.set("router.jitter=0.01");
  ops::Context context(2), other(1);
  const auto unbroken = tiny_trainer(context, recipe);
  std::vector<std::string> saved;
  std::vector<double> expected;
  for (int step = 0; step < 12; ++step) {
    saved.push_back(folder.path("at" + std::to_string(step)));
    std::filesystem::create_directories(saved.back());
    unbroken->save(saved.back());
    expected.push_back(unbroken->step().loss);
  }
  for (int step = 0; step < 12; ++step) {
    const auto resumed = tiny_trainer(step % 2 == 0 ? other : context, recipe);
    resumed->restore(saved[static_cast<std::size_t>(step)]);
    ASSERT_EQ(resumed->steps_done(), step);
    EXPECT_EQ(losses(*resumed, 12 - step),
              std::vector<double>(expected.begin() + step, expected.end()));
    EXPECT_TRUE(same_bits(weights(*resumed), weights(*unbroken)));
  }
}

TEST(Trainer, RecomputationAndMicroBatches) {
  const TemporaryFolder folder;
  io::Recipe recipe = tiny_recipe(folder);
  ops::Context context(2);
  const auto plain = tiny_trainer(context, recipe);
  const auto expected = losses(*plain, 5);
  recipe.set("train.recompute=true");
  const auto recomputed = tiny_trainer(context, recipe);
  EXPECT_EQ(losses(*recomputed, 5), expected);  // bit for bit
  EXPECT_TRUE(same_bits(weights(*recomputed), weights(*plain)));

  recipe.set("train.micro_batch=1");  // other sums and balance losses of smaller parts: close only
  const auto parts = tiny_trainer(context, recipe);
  const auto close = losses(*parts, 5);
  for (std::size_t i = 0; i < close.size(); ++i) EXPECT_NEAR(close[i], expected[i], 0.05);
}

TEST(Trainer, SharedExpertsDenseModelsAndFullPrecisionLearn) {
  const TemporaryFolder folder;
  for (const char* key : {"model.shared_width=12", "model.experts=1", "train.compute=f32",
                          "router.kind=hash", "router.kind=switch_top1"}) {
    io::Recipe recipe = tiny_recipe(folder);
    recipe.set(key);
    if (std::string(key).ends_with("switch_top1")) {
      recipe.set("model.experts_per_token=1");
      recipe.set("router.capacity_factor=1.25");
    }
    ops::Context context(2);
    const auto trainer = tiny_trainer(context, recipe);
    EXPECT_LT(losses(*trainer, 20).back(), 3.6) << key;
  }
}

TEST(Trainer, ANumberThatIsNotFiniteStopsBeforeTheUpdateAndIsNamed) {
  const TemporaryFolder folder;
  ops::Context context(2);
  const auto trainer = tiny_trainer(context, tiny_recipe(folder));
  trainer->step();
  ParameterSet& parameters = trainer->transformer().parameters();
  for (int i = 0; i < static_cast<int>(parameters.specs().size()); ++i) {
    const ParamSpec& spec = parameters.specs()[static_cast<std::size_t>(i)];
    if (!(spec.id == ParamId{Role::kRouter, 1, -1})) continue;
    parameters.value(i)(0, 0) = std::numeric_limits<float>::quiet_NaN();
  }
  trainer->transformer().repack(context);
  const std::vector<float> before = weights(*trainer);
  try {
    trainer->step();
    FAIL() << "a NaN in the router was not noticed";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNumeric);
    EXPECT_NE(error.message().find("layer 1"), std::string::npos) << error.message();
  }
  EXPECT_TRUE(same_bits(weights(*trainer), before));
  EXPECT_EQ(trainer->steps_done(), 1);
}

TEST(Trainer, AnExpertWhoseProductsOverflowIsNamed) {
  const TemporaryFolder folder;
  io::Recipe recipe = tiny_recipe(folder);
  recipe.set("train.compute=f32");
  ops::Context context(1);
  const auto trainer = tiny_trainer(context, recipe);
  ParameterSet& parameters = trainer->transformer().parameters();
  for (int i = 0; i < static_cast<int>(parameters.specs().size()); ++i) {
    const ParamId& id = parameters.specs()[static_cast<std::size_t>(i)].id;
    if (id.layer != 1 || id.expert != 2) continue;
    const MatrixView<float> value = parameters.value(i);  // finite, but its products are not
    for (std::int64_t k = 0; k < value.rows * value.cols; ++k) value.data[k] *= 1e30f;
  }
  trainer->transformer().repack(context);
  const std::vector<float> before = weights(*trainer);
  try {
    trainer->step();
    FAIL() << "the overflow was not noticed";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNumeric);
    EXPECT_NE(error.message().find("layer 1, expert 2"), std::string::npos) << error.message();
  }
  EXPECT_TRUE(same_bits(weights(*trainer), before));
}

}  // namespace
}  // namespace conclave::train
