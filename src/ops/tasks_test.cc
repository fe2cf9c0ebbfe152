#include "ops/tasks.h"

#include <gtest/gtest.h>

#include "sys/thread_pool.h"

namespace conclave::ops {
namespace {

struct Costly {
  std::int64_t cost;
};

TEST(TaskRuns, EachThreadTakesItsShareInOrderAndThenTheLastOfWhereMostIsLeft) {
  const std::vector<Costly> tasks(9, Costly{5});
  TaskRuns runs{std::span(tasks), 3};
  EXPECT_EQ(runs.take(1), 3);
  EXPECT_EQ(runs.take(1), 4);
  EXPECT_EQ(runs.take(0), 0);
  EXPECT_EQ(runs.take(1), 5);
  EXPECT_EQ(runs.take(1), 8) << "of three left there, and two of thread 0";
  EXPECT_EQ(runs.take(2), 6);
  EXPECT_EQ(runs.take(1), 2);
  EXPECT_EQ(runs.take(0), 1);
  EXPECT_EQ(runs.take(0), 7);
  for (const int thread : {0, 1, 2}) EXPECT_EQ(runs.take(thread), -1);
}

TEST(TaskRuns, SharesAreOfCostNotOfNumber) {
  const std::vector<Costly> tasks = {{6}, {1}, {1}, {1}, {1}, {1}, {1}};
  TaskRuns runs{std::span(tasks), 2};
  EXPECT_EQ(runs.take(1), 1);
  EXPECT_EQ(runs.take(0), 0);
}

// More threads than tasks, fewer, none: every task is taken once, whoever is fast.
TEST(TaskRuns, EveryTaskOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    sys::ThreadPool pool(threads);
    for (const std::size_t count : {0u, 1u, 2u, 7u, 1000u}) {
      std::vector<Costly> tasks;
      for (std::size_t i = 0; i < count; ++i) {
        tasks.push_back({static_cast<std::int64_t>(i * i % 17)});
      }
      std::vector<std::atomic<int>> taken(count);
      TaskRuns runs{std::span<const Costly>(tasks), threads};
      pool.run([&](int thread) {
        for (std::int64_t i; (i = runs.take(thread)) >= 0;) ++taken[static_cast<std::size_t>(i)];
      });
      for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(taken[i], 1) << i << " of " << count;
    }
  }
}

}  // namespace
}  // namespace conclave::ops
