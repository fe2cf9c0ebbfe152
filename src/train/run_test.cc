// Whole runs: files of the result, resume after an interruption, and what the world can do to them.

#include "train/run.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "io/checkpoint.h"
#include "models/model_files.h"
#include "sys/files.h"
#include "train/history.h"
#include "train/testing.h"

namespace conclave::train {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryFolder;
using testing::tiny_recipe;

RunResult run(const io::Recipe& recipe, const std::string& out, bool resume = false) {
  ops::Context context(2);
  return run_training(context, recipe, {out, resume, /*quiet=*/true});
}

std::string bytes(const std::string& path) { return sys::read_file(path, 1 << 28); }

TEST(Run, WritesAModelThatLoadsAndItsFigures) {
  const TemporaryFolder folder;
  io::Recipe recipe = tiny_recipe(folder);
  recipe.set("train.steps=6");
  const RunResult result = run(recipe, folder.path("m"));
  EXPECT_EQ(result.steps, 6);
  EXPECT_EQ(result.tokens, 6 * 4 * 16);
  EXPECT_FALSE(result.interrupted);
  ops::Context context(1);
  const models::LoadedModel model = models::load_model(context, folder.path("m"), DType::kF32);
  EXPECT_EQ(model.transformer->config().architecture, "mixtral");
  EXPECT_TRUE(model.tokenizer.has_value());
  EXPECT_EQ(read_history(folder.path("m/history.jsonl")).size(), 6u);
  for (const char* file : {"recipe.toml", "training.json", "generation_config.json"}) {
    EXPECT_TRUE(fs::exists(folder.path("m/") + file)) << file;
  }
}

TEST(Run, ResumedRunEndsWithTheSameBytes) {
  const TemporaryFolder folder;
  io::Recipe recipe = tiny_recipe(folder);
  recipe.set("train.steps=10");
  recipe.set("checkpoint.every=4");
  run(recipe, folder.path("whole"));
  // The same run, as if it had been killed after step 4: later checkpoints and results are gone.
  fs::copy(folder.path("whole"), folder.path("cut"), fs::copy_options::recursive);
  for (const std::int64_t step : io::list_checkpoints(folder.path("cut/checkpoints"))) {
    if (step > 8) fs::remove_all(io::checkpoint_path(folder.path("cut/checkpoints"), step));
  }
  fs::remove(folder.path("cut/model.safetensors"));
  EXPECT_THROW(run(recipe, folder.path("cut")), Error);  // without --resume nothing is overwritten
  run(recipe, folder.path("cut"), /*resume=*/true);
  EXPECT_EQ(bytes(folder.path("cut/model.safetensors")),
            bytes(folder.path("whole/model.safetensors")));
  EXPECT_EQ(read_history(folder.path("cut/history.jsonl")).size(), 10u);
}

TEST(Run, ADamagedCheckpointIsPassedOver) {
  const TemporaryFolder folder;
  io::Recipe recipe = tiny_recipe(folder);
  recipe.set("train.steps=10");
  recipe.set("checkpoint.every=4");
  recipe.set("checkpoint.keep=0");
  run(recipe, folder.path("m"));
  const std::string expected = bytes(folder.path("m/model.safetensors"));
  for (const std::int64_t step : {8, 10}) {  // one bit each
    const std::string file =
        io::checkpoint_path(folder.path("m/checkpoints"), step) + "/model.safetensors";
    std::string content = bytes(file);
    content[content.size() / 2] = static_cast<char>(content[content.size() / 2] ^ 4);
    std::ofstream(file, std::ios::binary) << content;
  }
  run(recipe, folder.path("m"), /*resume=*/true);  // from step 4
  EXPECT_EQ(bytes(folder.path("m/model.safetensors")), expected);
}

TEST(Run, TextThatIsNoTextIsRefusedByName) {
  const TemporaryFolder folder;
  const auto refuse = [&](const std::string& name, const std::string& content, bool write = true) {
    const std::string path = folder.path(name);
    if (write) std::ofstream(path, std::ios::binary) << content;
    io::Recipe recipe = tiny_recipe(folder);
    recipe.set("data.train=[\"x=" + path + "\"]");
    try {
      run(recipe, folder.path("out"));
      ADD_FAILURE() << name << " was taken";
    } catch (const Error& error) {
      EXPECT_NE(error.message().find(name), std::string::npos) << error.message();
    }
  };
  refuse("missing.txt", "", false);
  refuse("empty.txt", "");
  refuse("binary.txt", std::string("a\0b", 3) + std::string(1000, 'x'));
  refuse("latin1.txt", "caf\xe9 au lait " + std::string(1000, 'x'));
  std::ofstream(folder.path("short.txt")) << "abc";
  io::Recipe recipe = tiny_recipe(folder);
  recipe.set("data.train=[\"x=" + folder.path("short.txt") + "\"]");
  EXPECT_THROW(run(recipe, folder.path("out")), Error);
}

TEST(Run, AFolderThatCannotBeWrittenIsAnError) {
  const TemporaryFolder folder;
  std::ofstream(folder.path("file")) << "in the way";
  io::Recipe recipe = tiny_recipe(folder);
  recipe.set("train.steps=1");
  EXPECT_THROW(run(recipe, folder.path("file")), Error);
  EXPECT_THROW(run(recipe, "/proc/nowhere"), Error);
}

}  // namespace
}  // namespace conclave::train
