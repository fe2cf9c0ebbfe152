#include "train/config.h"

#include <gtest/gtest.h>

#include "train/schedule.h"
#include "train/testing.h"

namespace conclave::train {
namespace {

using testing::TemporaryFolder;
using testing::tiny_recipe;

TEST(TrainConfig, DefaultsOfTheTableMakeAModel) {
  const TemporaryFolder folder;
  const TrainConfig config = make_config(tiny_recipe(folder));
  EXPECT_EQ(config.model.n_layers, 2);
  EXPECT_EQ(config.model.ffn_L[0].n_experts(), 4);
  EXPECT_EQ(config.micro_batch, config.batch);
  EXPECT_EQ(config.train.size(), 2u);
}

// Each absurd recipe is refused, and the message names the key.
TEST(TrainConfig, AbsurdRecipesAreRefusedByName) {
  const TemporaryFolder folder;
  const std::vector<std::pair<std::vector<std::string>, std::string>> table = {
      {{"model.experts=0"}, "model.experts"},
      {{"model.experts_per_token=9"}, "model.experts_per_token"},
      {{"model.experts_per_token=1"}, "no gradient"},
      {{"model.width=0"}, "model.width"},
      {{"model.width=1048576", "model.layers=4096", "model.experts=65536",
        "model.expert_width=1048576"},
       "overflow"},
      {{"model.heads=3", "model.kv_heads=2"}, "query heads"},
      {{"model.head_dim=7"}, "head width"},
      {{"train.micro_batch=3"}, "train.micro_batch"},
      {{"train.sequence=64"}, "train.sequence"},
      {{"train.steps=0", "train.minutes=0"}, "train.steps"},
      {{"train.steps=-1"}, "train.steps"},
      {{"router.kind=expert_choice"}, "later tokens"},
      {{"router.kind=softmx_topk"}, "router.kind"},
      {{"router.kind=sigmoid_bias", "router.groups=3"}, "group"},
      {{"data.train=[]"}, "data.train"},
      {{"data.train=[\"no-label\"]"}, "data.train"},
      {{"data.train=[]"}, "--data LABEL=FILE"},
      {{"data.train=[\"a=x\", \"b=y\", \"a=z\"]"}, "'a' is given twice"},
      {{"data.heldout=[\"low=x\", \"low=y\"]"}, "'low' is given twice"},
      {{"data.heldout=[\"lwo=x\"]"}, "'lwo' (did you mean 'low'?)"},
      {{"data.heldout=[\"mean=x\"]"}, "'mean' is reserved"},
      {{"train.learning_rate=1"}, "optimizer.learning_rate"},
      {{"model.router=hash"}, "router.kind"},
      {{"model.expert=8"}, "model.experts"},  // unknown: the nearest is named
      {{"optimizer.learning_rate=fast"}, "optimizer.learning_rate"},
  };
  for (const auto& [keys, named] : table) {
    io::Recipe recipe = tiny_recipe(folder);
    try {
      for (const std::string& key : keys) recipe.set(key);
      make_config(recipe);
      ADD_FAILURE() << keys.front() << " was taken";
    } catch (const Error& error) {
      EXPECT_NE(error.message().find(named), std::string::npos)
          << keys.front() << ": " << error.message();
    }
  }
}

TEST(TrainConfig, HeldOutTextMustNotBeTrainedOn) {
  const TemporaryFolder folder;
  io::Recipe recipe = tiny_recipe(folder);
  recipe.set("data.heldout=[\"low=" + folder.path("low.txt") + "\"]");
  EXPECT_THROW(make_config(recipe), Error);
}

TEST(Schedule, WarmsUpThenFallsToTheFloor) {
  OptimizerConfig o;
  o.learning_rate = 2;
  o.final_ratio = 0.1;
  o.warmup_steps = 10;
  o.wsd_decay = 0.25;
  for (const Schedule schedule : {Schedule::kCosine, Schedule::kLinear, Schedule::kWsd}) {
    o.schedule = schedule;
    EXPECT_DOUBLE_EQ(learning_rate(o, 0, 110), 0.2);
    EXPECT_DOUBLE_EQ(learning_rate(o, 9, 110), 2);
    EXPECT_DOUBLE_EQ(learning_rate(o, 10, 110), 2);
    EXPECT_NEAR(learning_rate(o, 109, 110), 0.2, 1e-12);
    for (std::int64_t step = 10; step < 109; ++step) {
      EXPECT_GE(learning_rate(o, step, 110), learning_rate(o, step + 1, 110));
    }
  }
  EXPECT_DOUBLE_EQ(learning_rate(o, 60, 110), 2);  // wsd is flat in the middle
}

}  // namespace
}  // namespace conclave::train
