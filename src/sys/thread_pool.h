// A pool of threads with a cheap fork-join. Work is split by outputs, never by reductions, so no
// result depends on the number of threads. One caller at a time; calls do not nest.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace conclave::sys {

// A borrowed callable (int thread) -> void: no allocation, and it must outlive the call.
class TaskRef {
 public:
  template <class F>
  explicit TaskRef(const F& body)
      : object_(&body),
        call_([](const void* object, int thread) { (*static_cast<const F*>(object))(thread); }) {}
  void operator()(int thread) const { call_(object_, thread); }

 private:
  const void* object_;
  void (*call_)(const void*, int);
};

enum class Pinning { kNone, kCores };

class ThreadPool {
 public:
  // n_threads >= 1 counts the calling thread; n_threads - 1 workers are started. kCores binds each
  // worker to a physical core of its own, in turn from each NUMA node, and leaves the first core of
  // the list to the caller, which is not bound. Throws Error(kInvalidArgument) where the process
  // may not use so many cores.
  explicit ThreadPool(int n_threads, Pinning pinning = Pinning::kNone);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return n_threads_; }

  // Calls body(thread) once on every thread, 0 being the caller, and waits for all. `body` must not
  // throw: errors of the world are found before the parallel part.
  template <class F>
  void run(const F& body) {
    if (n_threads_ == 1) {
      body(0);
    } else {
      run_on_all(TaskRef(body));
    }
  }

  // Splits [0, count) into one contiguous range a thread, in multiples of `grain`; body(begin,
  // end).
  template <class F>
  void parallel_for(std::int64_t count, std::int64_t grain, const F& body) {
    if (count <= 0) return;
    const std::int64_t blocks = (count + grain - 1) / grain;
    if (n_threads_ == 1 || blocks == 1) {
      body(std::int64_t{0}, count);
      return;
    }
    run([&](int thread) {
      const std::int64_t begin = blocks * thread / n_threads_ * grain;
      std::int64_t end = blocks * (thread + 1) / n_threads_ * grain;
      if (end > count) end = count;
      if (begin < end) body(begin, end);
    });
  }

  // Hands out tasks 0 .. count-1 one by one, in order, to whichever thread is free; body(task).
  template <class F>
  void parallel_tasks(std::int64_t count, const F& body) {
    if (n_threads_ == 1 || count <= 1) {
      for (std::int64_t task = 0; task < count; ++task) body(task);
      return;
    }
    std::atomic<std::int64_t> next{0};
    run([&](int) {
      for (std::int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
        body(task);
      }
    });
  }

 private:
  void run_on_all(TaskRef task);
  void work(int thread);

  int n_threads_;
  const TaskRef* task_ = nullptr;
  // One cache line each: the workers wait on the first, the caller on the second.
  alignas(64) std::atomic<std::uint32_t> generation_{0};
  alignas(64) std::atomic<std::int32_t> pending_{0};
  alignas(64) std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

// The processors (hardware threads, by their number) of each physical core that this process may
// use; of those it may not use none. Cores come in turn from each NUMA node. Empty where the system
// does not say.
std::vector<std::vector<int>> usable_cores();
// Processors' worth of time that the control group (version 2) of this process gets, rounded up,
// and those around it; 0 where nothing limits it. `root` and `own` are /sys/fs/cgroup and
// /proc/self/cgroup.
int quota_of_processors(const std::filesystem::path& root, const std::filesystem::path& own);
// As many as usable cores, or fewer where the quota is less; 1 to 4096.
int default_thread_count();

}  // namespace conclave::sys
