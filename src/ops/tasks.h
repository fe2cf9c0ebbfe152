// Cutting work into tasks of different cost and running them on the pool: what the matrix products
// share.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "ops/context.h"

namespace conclave::ops {

inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Part `part` of `parts` of [0, count), in multiples of `grain`.
struct Range {
  std::int64_t begin, count;
};
inline Range part_of(std::int64_t count, std::int64_t grain, std::int64_t part,
                     std::int64_t parts) {
  const std::int64_t blocks = ceil_div(count, grain);
  const std::int64_t begin = blocks * part / parts * grain;
  return {begin, std::min(count, blocks * (part + 1) / parts * grain) - begin};
}

// The rows of groups: group g has rows offsets[g] .. offsets[g + 1] - 1.
class Offsets {
 public:
  explicit Offsets(std::span<const std::int32_t> offsets_E1) : offsets_(offsets_E1) {}
  std::size_t groups() const { return offsets_.size() - 1; }
  std::int64_t begin(std::size_t g) const { return offsets_[g]; }
  std::int64_t end(std::size_t g) const { return offsets_[g + 1]; }
  std::int64_t rows(std::size_t g) const { return end(g) - begin(g); }

 private:
  std::span<const std::int32_t> offsets_;
};

// Collects tasks in scratch: `plan(add)` is run twice, to count and to store.
template <class Task, class Plan>
std::span<const Task> make_tasks(Context& context, const Plan& plan) {
  std::size_t count = 0;
  plan([&](const Task&) { ++count; });
  Task* tasks = context.scratch<Task>(Context::kGroupTasks, static_cast<std::int64_t>(count));
  std::size_t next = 0;
  plan([&](const Task& task) { tasks[next++] = task; });
  return {tasks, count};
}

// Tasks 0 .. n-1 cut into one run a thread, each of about the same cost. A thread takes its own run
// from the front: what lies together in memory it reads as one stream. Then it helps where most is
// left, from the back.
class TaskRuns {
 public:
  template <class Task>
  TaskRuns(std::span<Task> tasks, int threads) : runs_(static_cast<std::size_t>(threads)) {
    std::int64_t total = 0, sum = 0;
    for (const Task& task : tasks) total += task.cost;
    std::uint32_t begin = 0, i = 0;
    for (std::size_t t = 0; t < runs_.size(); ++t, begin = i) {
      const std::int64_t share = total * static_cast<std::int64_t>(t + 1) / threads;
      for (; i < tasks.size() && 2 * sum + tasks[i].cost <= 2 * share; ++i) sum += tasks[i].cost;
      if (t + 1 == runs_.size()) i = static_cast<std::uint32_t>(tasks.size());
      runs_[t].ends.store(pack({begin, i}), std::memory_order_relaxed);
    }
  }

  // The next task for a thread, or -1: all are taken.
  std::int64_t take(int thread) {
    std::int64_t task = take_from(runs_[static_cast<std::size_t>(thread)], /*front=*/true);
    while (task < 0) {
      Run* longest = nullptr;
      std::uint32_t most = 0;
      for (Run& run : runs_) {
        const std::uint32_t left = run.left();
        if (left > most) most = left, longest = &run;
      }
      if (longest == nullptr) return -1;
      task = take_from(*longest, /*front=*/false);
    }
    return task;
  }

 private:
  struct Ends {
    std::uint32_t begin, end;
  };
  static std::uint64_t pack(Ends e) { return std::uint64_t{e.begin} << 32 | e.end; }
  static Ends unpack(std::uint64_t ends) {
    return {static_cast<std::uint32_t>(ends >> 32), static_cast<std::uint32_t>(ends)};
  }
  struct alignas(64) Run {
    std::atomic<std::uint64_t> ends{0};
    std::uint32_t left() const {
      const Ends e = unpack(ends.load(std::memory_order_relaxed));
      return e.end - e.begin;
    }
  };

  static std::int64_t take_from(Run& run, bool front) {
    std::uint64_t ends = run.ends.load(std::memory_order_relaxed);
    while (true) {
      Ends e = unpack(ends);
      if (e.begin == e.end) return -1;
      const std::uint32_t task = front ? e.begin++ : --e.end;
      if (run.ends.compare_exchange_weak(ends, pack(e), std::memory_order_relaxed)) return task;
    }
  }

  std::vector<Run> runs_;
};

// body(thread, task) for every task; Task has a field `cost`.
template <class Task, class Body>
void run_tasks(Context& context, std::span<const Task> tasks, const Body& body) {
  if (tasks.size() <= 1 || context.pool.size() == 1) {
    for (const Task& task : tasks) body(0, task);
    return;
  }
  TaskRuns runs(tasks, context.pool.size());
  context.pool.run([&](int thread) {
    for (std::int64_t i; (i = runs.take(thread)) >= 0;) {
      body(thread, tasks[static_cast<std::size_t>(i)]);
    }
  });
}

// Scratch of `bytes` for each thread, on cache lines of its own.
class ThreadScratch {
 public:
  ThreadScratch(Context& context, Context::Slot slot, std::int64_t bytes)
      : stride_(ceil_div(bytes, 64) * 64),
        data_(context.scratch<std::byte>(slot, stride_ * context.pool.size())) {}
  std::byte* of(int thread) const { return data_ + stride_ * thread; }

 private:
  std::int64_t stride_;
  std::byte* data_;
};

}  // namespace conclave::ops
