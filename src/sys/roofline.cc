#include "sys/roofline.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>

#include "base/error.h"
#include "sys/interrupt.h"
#include "sys/memory.h"
#include "sys/roofline_loops.h"

namespace conclave::sys {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The least time of run(), tried until `budget` seconds are spent and at least twice.
template <class Run>
double best_time(double budget, const Run& run) {
  const auto start = Clock::now();
  double best = 1e30;
  for (int tries = 0; tries < 2 || seconds_since(start) < budget; ++tries) {
    const auto begin = Clock::now();
    run();
    best = std::min(best, seconds_since(begin));
  }
  return best;
}

float plain_f32(std::int64_t rounds) noexcept {
  float sum[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  for (std::int64_t r = 0; r < rounds; ++r) {
    for (float& s : sum) s = s * 0.5f + 0.5f;
  }
  return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

std::uint64_t plain_read(const std::byte* data, std::size_t bytes) noexcept {
  const auto* p = reinterpret_cast<const std::uint64_t*>(data);
  std::uint64_t sum[4] = {};
  for (std::size_t i = 0; i < bytes / 8; i += 4) {
    for (std::size_t j = 0; j < 4; ++j) sum[j] += p[i + j];
  }
  return sum[0] + sum[1] + sum[2] + sum[3];
}

// The loops of the strongest set up to executed_isa(), each as far as the sets below offer one.
RooflineLoops choose_loops() {
  RooflineLoops chosen = {Isa::kReference, plain_f32, nullptr, 16, 0, plain_read, nullptr, 0};
  for (const RooflineLoops* loops :
       {&kRooflineAvx2, &kRooflineAvx512, &kRooflineAvx512Vnni, &kRooflineAvx512Bf16}) {
    if (loops->isa > executed_isa()) break;
    chosen.isa = loops->isa;
    if (loops->f32 != nullptr) {
      chosen.f32 = loops->f32;
      chosen.f32_flops = loops->f32_flops;
    }
    if (loops->bf16 != nullptr) {
      chosen.bf16 = loops->bf16;
      chosen.bf16_flops = loops->bf16_flops;
    }
    if (loops->int8 != nullptr) {
      chosen.int8 = loops->int8;
      chosen.int8_ops = loops->int8_ops;
    }
    if (loops->read != nullptr) chosen.read = loops->read;
  }
  return chosen;
}

// What the loops return goes here, so that no compiler may leave them out.
std::atomic<std::uint64_t> sink{0};

double measure_flops(ThreadPool& pool, float (*loop)(std::int64_t) noexcept, std::int64_t flops,
                     double budget) {
  if (loop == nullptr) return 0;
  // A round of sixteen chains takes about 16 cycles: a try is under a millisecond, so that on a
  // busy machine some fall between two interruptions.
  constexpr std::int64_t kRounds = 150000;
  const double time =
      best_time(budget, [&] { pool.run([&](int) { sink += loop(kRounds) > 1 ? 1 : 0; }); });
  return static_cast<double>(flops) * kRounds * pool.size() / time * 1e-9;
}

double measure_read(ThreadPool& pool, std::uint64_t (*read)(const std::byte*, std::size_t) noexcept,
                    double budget) {
  // Four times the last cache in eight windows, read in turn: by the time a window comes again, the
  // cache has forgotten it, and one is read in well under a millisecond.
  constexpr std::size_t kWindows = 8;
  const long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
  const std::size_t wanted =
      std::clamp<std::size_t>(cache > 0 ? static_cast<std::size_t>(cache) * 4 : 0,
                              std::size_t{128} << 20, std::size_t{1} << 30);
  const auto threads = static_cast<std::size_t>(pool.size());
  const std::size_t window = wanted / threads / kWindows / 4096 * 4096;
  const std::size_t part = window * kWindows;
  const std::unique_ptr<void, void (*)(void*)> owner(allocate_memory(part * threads), free_memory);
  if (!owner) fail(ErrorKind::kOutOfMemory, "measuring memory needs {} bytes", part * threads);
  auto* data = static_cast<std::byte*>(owner.get());
  // Every page must be written once: unwritten pages all share one page of zeros in the cache.
  pool.run([&](int thread) {
    std::byte* mine = data + static_cast<std::size_t>(thread) * part;
    std::fill(mine, mine + part, std::byte{1});
  });
  std::size_t next = 0;
  const double time = best_time(budget, [&] {
    pool.run([&](int thread) {
      sink += read(data + static_cast<std::size_t>(thread) * part + next * window, window);
    });
    next = (next + 1) % kWindows;
  });
  return static_cast<double>(window * threads) / time * 1e-9;
}

}  // namespace

Roofline measure_roofline(ThreadPool& pool, double seconds) {
  const RooflineLoops loops = choose_loops();
  Roofline roofline;
  roofline.threads = pool.size();
  const auto flops = [&](auto loop, double each) {
    stop_if_interrupted("measuring the machine's limits");
    return measure_flops(pool, loop, each, seconds / 4);
  };
  roofline.f32_gflops = flops(loops.f32, loops.f32_flops);
  roofline.bf16_gflops = flops(loops.bf16, loops.bf16_flops);
  roofline.int8_gops = flops(loops.int8, loops.int8_ops);
  stop_if_interrupted("measuring the machine's limits");
  roofline.read_gbps = measure_read(pool, loops.read, seconds / 4);
  return roofline;
}

}  // namespace conclave::sys
