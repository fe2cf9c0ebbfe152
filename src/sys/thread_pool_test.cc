#include "sys/thread_pool.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"

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

TEST(ThreadPool, RefusesAbsurdSizes) {
  EXPECT_THROW(ThreadPool(0), Error);
  EXPECT_THROW(ThreadPool(1 << 20), Error);
  EXPECT_GE(default_thread_count(), 1);
}

}  // namespace
}  // namespace conclave::sys
