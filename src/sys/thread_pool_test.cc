#include "sys/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <numeric>

#include "base/error.h"
#include "sys/testing.h"

namespace conclave::sys {
namespace {

TEST(ThreadPool, EveryIndexExactlyOnce) {
  for (int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    for (std::int64_t count : {0, 1, 2, 63, 64, 65, 1000}) {
      for (std::int64_t grain : {1, 16, 64}) {
        std::vector<std::atomic<int>> seen(static_cast<std::size_t>(count));
        pool.parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
          EXPECT_EQ(begin % grain, 0);
          for (std::int64_t i = begin; i < end; ++i) ++seen[static_cast<std::size_t>(i)];
        });
        for (auto& n : seen) EXPECT_EQ(n.load(), 1);
      }
      std::atomic<std::int64_t> sum{0};
      pool.parallel_tasks(count, [&](std::int64_t task) { sum += task + 1; });
      EXPECT_EQ(sum.load(), count * (count + 1) / 2);
    }
  }
}

TEST(ThreadPool, ManyShortRegions) {
  ThreadPool pool(3);
  std::atomic<int> calls{0};
  for (int i = 0; i < 3000; ++i) pool.run([&](int) { calls.fetch_add(1); });
  EXPECT_EQ(calls.load(), 9000);
}

TEST(ThreadPool, UsableCoresAreThoseThatTheProcessMayUse) {
  cpu_set_t allowed;
  ASSERT_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
  const auto cores = usable_cores();
  if (cores.empty()) GTEST_SKIP() << "the system does not describe its processors";
  for (const std::vector<int>& core : cores) {
    ASSERT_FALSE(core.empty());
    for (const int cpu : core) {
      EXPECT_TRUE(CPU_ISSET(cpu, &allowed)) << cpu << " is not allowed, or is listed twice";
      CPU_CLR(cpu, &allowed);
    }
  }
  EXPECT_EQ(CPU_COUNT(&allowed), 0);
  EXPECT_GE(static_cast<int>(cores.size()), default_thread_count());
}

TEST(ThreadPool, TheQuotaIsTheLeastOfTheGroupAndThoseAroundIt) {
  const conclave::testing::TempDir folder;
  const std::filesystem::path root(folder.path()), own = root / "own";
  std::filesystem::create_directories(root / "a/b");
  const auto write = [](const std::filesystem::path& path, const std::string& text) {
    std::ofstream(path) << text;
  };
  const auto quota = [&](const std::string& group) {
    write(own, "1:cpu:/other\n0::" + group + "\n");
    return quota_of_processors(root, own);
  };
  EXPECT_EQ(quota("/a/b"), 0);
  write(root / "a/cpu.max", "250000 100000\n");
  write(root / "a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(quota("/a/b"), 3);
  EXPECT_EQ(quota("/"), 0);
  write(root / "a/b/cpu.max", "50000 100000\n");
  EXPECT_EQ(quota("/a/b"), 1);
  EXPECT_EQ(quota("/a"), 3);
  write(root / "cpu.max", "200000 100000\n");
  EXPECT_EQ(quota("/a"), 2);
  EXPECT_EQ(quota("/../a"), 2) << "the root's";
  EXPECT_EQ(quota("//a"), 2);
  EXPECT_EQ(quota("://a"), 2) << "a group that is not there";
  write(root / "cpu.max", "rubbish");
  EXPECT_EQ(quota("/missing"), 0) << "and of the root nothing that is a number";
  EXPECT_EQ(quota_of_processors(root, root / "missing"), 0);
}

TEST(ThreadPool, BoundWorkersStayOnACoreOfTheirOwn) {
  const auto cores = usable_cores();
  if (cores.size() < 2) GTEST_SKIP() << cores.size() << " cores";
  const int threads = static_cast<int>(cores.size());
  ThreadPool pool(threads, Pinning::kCores);
  std::vector<std::vector<int>> bound(cores.size());
  pool.run([&](int thread) {
    cpu_set_t set;
    sched_getaffinity(0, sizeof(set), &set);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &set)) bound[static_cast<std::size_t>(thread)].push_back(cpu);
    }
  });
  for (std::size_t i = 1; i < cores.size(); ++i) EXPECT_EQ(bound[i], cores[i]);
  EXPECT_THROW(ThreadPool(threads + 1, Pinning::kCores), Error);
}

TEST(ThreadPool, RefusesAbsurdSizes) {
  EXPECT_THROW(ThreadPool(0), Error);
  EXPECT_THROW(ThreadPool(1 << 20), Error);
  EXPECT_GE(default_thread_count(), 1);
}

}  // namespace
}  // namespace conclave::sys
