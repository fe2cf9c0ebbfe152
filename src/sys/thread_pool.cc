#include "sys/thread_pool.h"

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "base/error.h"

namespace conclave::sys {
namespace {

// A parallel region follows the last within microseconds while a model runs, so a waiter first
// spins (about 50 us at 3.5 GHz, a pause being some 40 cycles), then sleeps on a futex.
constexpr int kSpins = 4000;

template <class Done>
bool spin_until(const Done& done) {
  for (int i = 0; i < kSpins; ++i) {
    if (done()) return true;
    _mm_pause();
  }
  return false;
}

std::filesystem::path cpu_directory(int cpu) {
  return "/sys/devices/system/cpu/cpu" + std::to_string(cpu);
}

// "node0", ...; empty where the system does not say.
std::string numa_node(int cpu) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(cpu_directory(cpu), error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("node")) return name;
  }
  return {};
}

// A processor that is taken away meanwhile leaves the thread where the system puts it.
void bind_to(std::thread& thread, const std::vector<int>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) CPU_SET(cpu, &set);
  pthread_setaffinity_np(thread.native_handle(), sizeof(set), &set);
}

}  // namespace

ThreadPool::ThreadPool(int n_threads, Pinning pinning) : n_threads_(n_threads) {
  if (n_threads < 1 || n_threads > 4096) {
    fail(ErrorKind::kInvalidArgument, "threads: found {}, expected 1 to 4096", n_threads);
  }
  std::vector<std::vector<int>> cores;
  if (pinning == Pinning::kCores && n_threads > 1) {
    cores = usable_cores();
    if (cores.empty()) {
      fail(ErrorKind::kInvalidArgument,
           "threads cannot be bound: the system does not describe its processors");
    }
    if (std::ssize(cores) < n_threads) {
      fail(ErrorKind::kInvalidArgument,
           "{} threads cannot be bound to {} physical cores: ask for fewer, or do not bind them",
           n_threads, cores.size());
    }
  }
  for (int thread = 1; thread < n_threads; ++thread) {
    workers_.emplace_back([this, thread] { work(thread); });
    if (!cores.empty()) bind_to(workers_.back(), cores[static_cast<std::size_t>(thread)]);
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run_on_all(TaskRef task) {
  task_ = &task;
  pending_.store(n_threads_ - 1, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  task(0);
  const auto finished = [this] { return pending_.load(std::memory_order_acquire) == 0; };
  if (spin_until(finished)) return;
  for (std::int32_t left; (left = pending_.load(std::memory_order_acquire)) != 0;) {
    pending_.wait(left, std::memory_order_acquire);
  }
}

void ThreadPool::work(int thread) {
  std::uint32_t seen = 0;
  for (;;) {
    const auto called = [&] { return generation_.load(std::memory_order_acquire) != seen; };
    if (!spin_until(called)) {
      while (!called()) generation_.wait(seen, std::memory_order_acquire);
    }
    ++seen;
    if (stop_.load(std::memory_order_relaxed)) return;
    (*task_)(thread);
    if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) pending_.notify_one();
  }
}

std::vector<std::vector<int>> usable_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return {};
  std::map<std::string, std::vector<int>> cores;  // by the list of hardware threads that share one
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    std::ifstream file(cpu_directory(cpu) / "topology/thread_siblings_list");
    std::string siblings;
    if (std::getline(file, siblings)) cores[siblings].push_back(cpu);
  }
  std::map<std::string, std::vector<std::vector<int>>> nodes;
  for (auto& [siblings, cpus] : cores) nodes[numa_node(cpus.front())].push_back(std::move(cpus));
  std::vector<std::vector<int>> in_turn;
  for (std::size_t i = 0; in_turn.size() < cores.size(); ++i) {
    for (const auto& [node, of_node] : nodes) {
      if (i < of_node.size()) in_turn.push_back(of_node[i]);
    }
  }
  return in_turn;
}

int quota_of_processors(const std::filesystem::path& root, const std::filesystem::path& own) {
  std::ifstream groups(own);
  std::filesystem::path group;
  for (std::string line; std::getline(groups, line);) {
    if (line.starts_with("0::/")) group = std::filesystem::path(line.substr(3)).relative_path();
  }
  // A path with .. names a group outside the process's view.
  if (std::find(group.begin(), group.end(), "..") != group.end()) group.clear();
  int least = 0;
  while (true) {
    std::ifstream file(root / group / "cpu.max");  // "max PERIOD" or "QUOTA PERIOD", microseconds
    std::int64_t quota = 0, period = 0;
    if (file >> quota >> period && quota > 0 && period > 0) {
      const auto limit = static_cast<int>(std::min<std::int64_t>(4096, (quota - 1) / period + 1));
      least = least == 0 ? limit : std::min(least, limit);
    }
    if (group.empty()) return least;
    group = group.parent_path();
  }
}

int default_thread_count() {
  auto count = static_cast<int>(usable_cores().size());
  if (count == 0) count = static_cast<int>(std::thread::hardware_concurrency());
  const int quota = quota_of_processors("/sys/fs/cgroup", "/proc/self/cgroup");
  return std::clamp(quota > 0 ? std::min(count, quota) : count, 1, 4096);
}

}  // namespace conclave::sys
