#include <gtest/gtest.h>

#include "io/checkpoint.h"
#include "sys/testing.h"

namespace conclave::io {
namespace {

using conclave::testing::slurp;
using conclave::testing::TempDir;

const std::vector<float> kMoments = {1.5f, -2.0f, 3.25f, 0.0f, 5.0f, 6.0f};
const std::vector<double> kSums = {1e300, -1e-300};
const std::vector<std::int64_t> kCounts = {1, -2, std::int64_t{1} << 62};

std::string save_sample(const TempDir& dir) {
  TrainingState state;
  state.set_integer("step", 1200);
  state.set("optimizer", "adamw \"x\"\n");
  state.add<float>("m.w", {2, 3}, kMoments);
  state.add<double>("sums", {2}, kSums);
  state.add<std::int64_t>("counts", {3}, kCounts);
  state.save(dir / "training_state.safetensors");
  return dir / "training_state.safetensors";
}

void load_sample(const std::string& path) {
  const TrainingStateReader state(path);
  EXPECT_EQ(state.integer("step"), 1200);
  EXPECT_EQ(state.value("optimizer"), "adamw \"x\"\n");
  std::vector<float> moments(6);
  std::vector<double> sums(2);
  std::vector<std::int64_t> counts(3);
  state.read<float>("m.w", {2, 3}, moments);
  state.read<double>("sums", {2}, sums);
  state.read<std::int64_t>("counts", {3}, counts);
  EXPECT_EQ(moments, kMoments);
  EXPECT_EQ(sums, kSums);
  EXPECT_EQ(counts, kCounts);
}

TEST(TrainingState, GivesBackWhatWasSaved) {
  const TempDir dir;
  load_sample(save_sample(dir));
  const TrainingStateReader state(dir / "training_state.safetensors");
  EXPECT_EQ(state.array_names(), (std::vector<std::string>{"counts", "m.w", "sums"}));
  EXPECT_TRUE(state.has("step"));
  EXPECT_FALSE(state.has("checksum"));
}

TEST(TrainingState, SaysWhatDoesNotFit) {
  const TempDir dir;
  const TrainingStateReader state(save_sample(dir));
  std::vector<float> six(6);
  const std::span<float> out(six);
  EXPECT_ERROR(state.read<float>("m.w", {3, 2}, out), ErrorKind::kBadFile,
               "F32 [2, 3], expected F32 [3, 2]");
  EXPECT_ERROR(state.read<float>("sums", {6}, out), ErrorKind::kBadFile,
               "F64 [2], expected F32 [6]");
  EXPECT_ERROR(state.read<float>("v.w", {6}, out), ErrorKind::kNotFound, "did you mean 'm.w'");
  EXPECT_ERROR(state.integer("optimizer"), ErrorKind::kBadFile, "expected an integer");
  EXPECT_ERROR(state.value("none"), ErrorKind::kBadFile, "no 'none'");
}

TEST(TrainingState, EveryFlippedBitIsFound) {
  const TempDir dir;
  const std::string good = slurp(save_sample(dir));
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    const std::string path = dir.put("bad.safetensors", bad);
    bool found = false;
    try {
      load_sample(path);
      // Blanks that pad the header and the "format" carry nothing; the rest must be found.
    } catch (const Error& error) {
      found = true;
      ASSERT_TRUE(error.kind() == ErrorKind::kBadFile || error.kind() == ErrorKind::kNotFound);
      ASSERT_NE(error.message().find("bad.safetensors"), std::string::npos) << error.message();
    }
    const std::string_view around =
        std::string_view(bad).substr(bit / 8 < 12 ? 0 : bit / 8 - 12, 24);
    const bool harmless =
        around.find("format") != around.npos || around.find("pt\"") != around.npos;
    ASSERT_TRUE(found || harmless) << bit / 8 << " in " << around;
  }
}

}  // namespace
}  // namespace conclave::io
