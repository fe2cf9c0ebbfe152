// Cutting work into tasks of different cost and running them on the pool: what the matrix products
// share.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <span>

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

// Collects tasks in scratch: `plan(add)` is run twice, to count and to store. Costly ones (by the
// field `cost`) come first, so that the last to finish is a small one.
template <class Task, class Plan>
std::span<const Task> make_tasks(Context& context, const Plan& plan) {
  std::size_t count = 0;
  plan([&](const Task&) { ++count; });
  Task* tasks = context.scratch<Task>(Context::kGroupTasks, static_cast<std::int64_t>(count));
  std::size_t next = 0;
  plan([&](const Task& task) { tasks[next++] = task; });
  std::sort(tasks, tasks + count, [](const Task& a, const Task& b) { return a.cost > b.cost; });
  return {tasks, count};
}

// body(thread, task) for every task, each thread taking the next when it is free.
template <class Task, class Body>
void run_tasks(Context& context, std::span<const Task> tasks, const Body& body) {
  if (tasks.size() <= 1 || context.pool.size() == 1) {
    for (const Task& task : tasks) body(0, task);
    return;
  }
  std::atomic<std::size_t> next{0};
  context.pool.run([&](int thread) {
    for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tasks.size();) {
      body(thread, tasks[i]);
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
