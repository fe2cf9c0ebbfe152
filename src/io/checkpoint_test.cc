#include "io/checkpoint.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/rng.h"
#include "sys/testing.h"

namespace conclave::io {
namespace {

using conclave::testing::FailingDisk;
using conclave::testing::slurp;
using conclave::testing::TempDir;

// Stands for a model: two files whose content tells the step.
std::function<void(const std::string&)> files_of(std::int64_t step, sys::FileOps* ops = nullptr) {
  return [=](const std::string& directory) {
    sys::FileOps& disk = ops == nullptr ? sys::real_file_ops() : *ops;
    sys::write_file_atomically(sys::join_path(directory, "config.json"),
                               fmt::format("{{\"step\": {}}}", step), disk);
    sys::write_file_atomically(sys::join_path(directory, "model.safetensors"),
                               std::string(3000, static_cast<char>('a' + step % 26)), disk);
  };
}

std::string config_of(const std::string& directory) {
  return slurp(sys::join_path(directory, "config.json"));
}

TEST(Checkpoint, SavesVerifiesAndFindsTheNewest) {
  const TempDir dir;
  const std::string root = dir / "run/checkpoints";
  EXPECT_EQ(latest_valid_checkpoint(root).step, -1);
  EXPECT_EQ(save_checkpoint(root, 5, files_of(5)), root + "/step-000005");
  EXPECT_EQ(save_checkpoint(root, 1'234'567, files_of(7)), root + "/step-1234567");
  verify_checkpoint(root + "/step-000005");
  const CheckpointFound found = latest_valid_checkpoint(root);
  EXPECT_EQ(found.step, 1'234'567);
  EXPECT_EQ(found.directory, root + "/step-1234567");
  EXPECT_TRUE(found.skipped.empty());
  EXPECT_EQ(config_of(found.directory), "{\"step\": 7}");
  EXPECT_EQ(list_checkpoints(root), (std::vector<std::int64_t>{5, 1'234'567}));
}

TEST(Checkpoint, KeepsTheLastAndReplacesTheSameStep) {
  const TempDir dir;
  for (std::int64_t step = 10; step <= 60; step += 10) {
    save_checkpoint(dir.path(), step, files_of(step), {.keep_last = 3});
  }
  EXPECT_EQ(list_checkpoints(dir.path()), (std::vector<std::int64_t>{40, 50, 60}));
  save_checkpoint(dir.path(), 50, files_of(99), {.keep_last = 3});
  EXPECT_EQ(config_of(dir / "step-000050"), "{\"step\": 99}");
  verify_checkpoint(dir / "step-000050");
  save_checkpoint(dir.path(), 20, files_of(20), {.keep_last = 1});  // never the one just written
  EXPECT_EQ(list_checkpoints(dir.path()), (std::vector<std::int64_t>{20, 60}));
  save_checkpoint(dir.path(), 70, files_of(70), {.keep_last = 0});
  EXPECT_EQ(sys::list_directory(dir.path()).size(), 3u);
}

TEST(Checkpoint, LeavesOtherFilesOfTheRootAlone) {
  const TempDir dir;
  dir.put("history.csv", "x");
  sys::make_directories(dir / "step-7");  // not a name of ours
  sys::make_directories(dir / "step-000009x");
  sys::make_directories(dir / ".tmp-step-000003-new");  // what a killed save left
  dir.put(".tmp-step-000003-new/model.safetensors", "half");
  save_checkpoint(dir.path(), 1, files_of(1), {.keep_last = 1});
  save_checkpoint(dir.path(), 2, files_of(2), {.keep_last = 1});
  EXPECT_EQ(sys::list_directory(dir.path()),
            (std::vector<std::string>{"history.csv", "step-000002", "step-000009x", "step-7"}));
}

TEST(Checkpoint, AnyFlippedBitIsFoundAndNamed) {
  const TempDir dir;
  const std::string good = save_checkpoint(dir.path(), 1, files_of(1));
  for (const std::string& name : sys::list_directory(good)) {
    const std::string path = sys::join_path(good, name);
    const std::string content = slurp(path);
    // Every bit of the small files, every 37th of the large one.
    const std::size_t stride = content.size() > 1000 ? 37 : 1;
    for (std::size_t bit = 0; bit < content.size() * 8; bit += stride) {
      std::string bad = content;
      bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
      dir.put("step-000001/" + name, bad);
      const Error error = testing::error_of([&] { verify_checkpoint(good); });
      ASSERT_TRUE(error.kind() == ErrorKind::kBadFile || error.kind() == ErrorKind::kUnsupported);
      ASSERT_NE(error.message().find(name), std::string::npos) << error.message();
    }
    for (const std::size_t size : {std::size_t{0}, content.size() - 1}) {
      dir.put("step-000001/" + name, content.substr(0, size));
      EXPECT_ERROR(verify_checkpoint(good), ErrorKind::kBadFile, name);
    }
    ::unlink(path.c_str());
    EXPECT_ERROR(verify_checkpoint(good), ErrorKind::kBadFile, name);
    dir.put("step-000001/" + name, content);
    verify_checkpoint(good);
  }
}

TEST(Checkpoint, FallsBackToTheNewestThatIsWholeAndSaysSo) {
  const TempDir dir;
  for (const std::int64_t step : {1, 2, 3, 4})
    save_checkpoint(dir.path(), step, files_of(step), {.keep_last = 9});
  dir.put("step-000004/config.json", "{\"step\": 5}");
  ::unlink((dir / "step-000003/checksums.json").c_str());
  CheckpointFound found = latest_valid_checkpoint(dir.path());
  EXPECT_EQ(found.step, 2);
  ASSERT_EQ(found.skipped.size(), 2u);
  EXPECT_NE(found.skipped[0].find("step-000004/config.json: is damaged"), std::string::npos);
  EXPECT_NE(found.skipped[1].find("step-000003/checksums.json: is missing"), std::string::npos);
  save_checkpoint(dir.path(), 4, files_of(4), {.keep_last = 9});  // a damaged one is replaced
  EXPECT_EQ(latest_valid_checkpoint(dir.path()).step, 4);
}

TEST(Checkpoint, AFailingWriterLeavesNothing) {
  const TempDir dir;
  save_checkpoint(dir.path(), 1, files_of(1));
  const auto broken = [](const std::string& directory) {
    sys::write_file_atomically(sys::join_path(directory, "half"), "x");
    fail(ErrorKind::kNumeric, "a weight is NaN");
  };
  EXPECT_ERROR(save_checkpoint(dir.path(), 2, broken), ErrorKind::kNumeric, "NaN");
  EXPECT_EQ(sys::list_directory(dir.path()), std::vector<std::string>{"step-000001"});
  const auto nested = [](const std::string& directory) {
    sys::make_directories(sys::join_path(directory, "sub"));
  };
  EXPECT_ERROR(save_checkpoint(dir.path(), 2, nested), ErrorKind::kInvalidArgument, "sub");
  EXPECT_EQ(latest_valid_checkpoint(dir.path()).step, 1);
}

// Every call that can fail fails once: either the new checkpoint is complete, or the old one is the
// newest and nothing else is there; and the save says so and works the next time.
TEST(Checkpoint, EveryFailureKeepsTheNewestLoadable) {
  for (const bool same_step : {false, true}) {
    for (int n = 1;; ++n) {
      const TempDir dir;
      save_checkpoint(dir.path(), 1, files_of(1));
      const std::int64_t step = same_step ? 1 : 2;
      FailingDisk disk(n, n % 2 == 0 ? ENOSPC : EIO);
      bool failed = false;
      try {
        save_checkpoint(dir.path(), step, files_of(8, &disk), {.keep_last = 2, .ops = &disk});
      } catch (const Error& error) {
        failed = true;
        EXPECT_EQ(error.kind(), ErrorKind::kIo);
      }
      const CheckpointFound found = latest_valid_checkpoint(dir.path());
      ASSERT_FALSE(found.directory.empty()) << disk.failed_call();
      EXPECT_TRUE(found.skipped.empty());
      EXPECT_EQ(failed, !disk.failed_call().empty());
      const std::string config = config_of(found.directory);
      if (!failed) {
        EXPECT_EQ(config, "{\"step\": 8}");
        EXPECT_GT(n, 20);
        break;
      }
      EXPECT_TRUE(config == "{\"step\": 1}" || config == "{\"step\": 8}") << config;
      save_checkpoint(dir.path(), step, files_of(9));
      EXPECT_EQ(config_of(latest_valid_checkpoint(dir.path()).directory), "{\"step\": 9}");
      for (const std::string& name : sys::list_directory(dir.path())) {
        EXPECT_TRUE(name.starts_with("step-")) << name;
      }
    }
  }
}

TEST(Checkpoint, AFileSystemWithoutSwapStillReplaces) {
  class NoSwap : public sys::FileOps {
    int exchange(const char*, const char*) override {
      errno = EINVAL;
      return -1;
    }
  };
  const TempDir dir;
  NoSwap disk;
  save_checkpoint(dir.path(), 1, files_of(1), {.ops = &disk});
  save_checkpoint(dir.path(), 1, files_of(2), {.ops = &disk});
  EXPECT_EQ(config_of(latest_valid_checkpoint(dir.path()).directory), "{\"step\": 2}");
  EXPECT_EQ(sys::list_directory(dir.path()).size(), 1u);
}

// kill -9 at a random moment of a process that does nothing but save, again and again. What it
// acknowledged before it died must be there, whole.
TEST(Checkpoint, SurvivesBeingKilled) {
  const TempDir dir;
  const Rng rng(7);
  std::int64_t acknowledged = 0;
  int killed_in_save = 0;
  for (std::uint64_t round = 0; round < 100; ++round) {
    int pipe_ends[2];
    ASSERT_EQ(::pipe(pipe_ends), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (std::int64_t step = acknowledged + 1;; ++step) {
        try {
          save_checkpoint(dir.path(), step, files_of(step), {.keep_last = 2});
        } catch (const Error&) {
          ::_exit(3);
        }
        if (::write(pipe_ends[1], &step, sizeof(step)) != sizeof(step)) ::_exit(4);
      }
    }
    ::close(pipe_ends[1]);
    std::int64_t step = 0;
    ASSERT_EQ(::read(pipe_ends[0], &step, sizeof(step)), static_cast<ssize_t>(sizeof(step)));
    acknowledged = step;
    ::usleep(static_cast<useconds_t>(rng.below(round, 15'000)));
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the save failed by itself: " << WEXITSTATUS(status);
    while (::read(pipe_ends[0], &step, sizeof(step)) > 0) acknowledged = step;
    ::close(pipe_ends[0]);

    const CheckpointFound found = latest_valid_checkpoint(dir.path());
    ASSERT_GE(found.step, acknowledged);
    ASSERT_LE(found.step, acknowledged + 1);
    ASSERT_TRUE(found.skipped.empty()) << found.skipped[0];
    ASSERT_EQ(config_of(found.directory), fmt::format("{{\"step\": {}}}", found.step));
    std::size_t leftovers = 0;
    for (const std::string& name : sys::list_directory(dir.path())) {
      if (!name.starts_with("step-")) ++leftovers;
    }
    ASSERT_LE(leftovers, 1u) << "temporaries pile up";
    if (leftovers > 0) ++killed_in_save;
    acknowledged = found.step;
  }
  EXPECT_GT(killed_in_save, 10) << "the kills missed the saves";
  save_checkpoint(dir.path(), acknowledged + 1, files_of(1), {.keep_last = 2});
  EXPECT_EQ(sys::list_directory(dir.path()).size(), 2u);
}

TEST(Checkpoint, OneProcessSavesAtATime) {
  const TempDir dir;
  const auto again = [&](const std::string&) { save_checkpoint(dir.path(), 2, files_of(2)); };
  EXPECT_ERROR(save_checkpoint(dir.path(), 1, again), ErrorKind::kIo, "another process is saving");
}

}  // namespace
}  // namespace conclave::io
