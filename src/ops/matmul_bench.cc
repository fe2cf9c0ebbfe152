// Matrix products at training and decoding shapes, as a share of this machine's roof. The counters:
//   gflops  of the fastest call (other work on the machine can only slow a call down)
//   peak    its share of the arithmetic peak of the compute type, measured in the same run
//   gbps    packed weights read a second, for the shapes that stream them, and `roof` its share
//   ns_row  time of a routed row
// Threads: CONCLAVE_BENCH_THREADS, or every core.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/rng.h"
#include "ops/matmul.h"
#include "sys/cpu.h"
#include "sys/roofline.h"

namespace conclave::ops {
namespace {

Context& bench_context() {
  static const char* threads = std::getenv("CONCLAVE_BENCH_THREADS");
  static Context context(threads != nullptr ? std::atoi(threads) : sys::default_thread_count());
  return context;
}

const sys::Roofline& bench_roofline() {
  static const sys::Roofline roofline = sys::measure_roofline(bench_context().pool, 1.0);
  return roofline;
}

Tensor random_tensor(std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  Tensor tensor(DType::kF32, {rows, cols});
  const Rng rng(seed);
  // One drawn row, shifted: values matter to no kernel, and drawing 16 million takes seconds.
  std::vector<float> drawn(static_cast<std::size_t>(cols) + 64);
  for (std::size_t i = 0; i < drawn.size(); ++i) drawn[i] = static_cast<float>(rng.normal(i));
  const auto view = tensor.matrix<float>();
  for (std::int64_t r = 0; r < rows; ++r) std::copy_n(drawn.data() + r % 64, cols, view.row(r));
  return tensor;
}

// Rows of E experts that add up to `rows`: equal, or falling as 1 / sqrt(1 + e).
std::vector<std::int32_t> make_offsets(std::int64_t rows, std::int64_t experts, bool skewed) {
  std::vector<double> ends(static_cast<std::size_t>(experts) + 1, 0.0);
  for (std::size_t e = 0; e < static_cast<std::size_t>(experts); ++e) {
    ends[e + 1] = ends[e] + (skewed ? 1 / std::sqrt(1.0 + static_cast<double>(e)) : 1.0);
  }
  std::vector<std::int32_t> offsets;
  for (double end : ends) {
    offsets.push_back(static_cast<std::int32_t>(end / ends.back() * static_cast<double>(rows)));
  }
  offsets.back() = static_cast<std::int32_t>(rows);
  return offsets;
}

enum class Pass { kForward, kInputGradient, kWeightGradient };

struct Case {
  const char* name;
  std::int64_t rows, d, f, experts;
  bool skewed;
};

// Calls `body` as often as the benchmark asks and keeps the fastest call.
template <class Body>
double fastest(benchmark::State& state, const Body& body) {
  using Clock = std::chrono::steady_clock;
  body();
  double best = 1e30;
  for (auto _ : state) {
    const auto start = Clock::now();
    body();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

void report(benchmark::State& state, double seconds, double flops, DType compute) {
  const double peak = compute == DType::kBF16 && bench_roofline().bf16_gflops > 0
                          ? bench_roofline().bf16_gflops
                          : bench_roofline().f32_gflops;
  state.counters["gflops"] = flops / seconds * 1e-9;
  state.counters["peak"] = flops / seconds * 1e-9 / peak;
}

void grouped(benchmark::State& state, const Case& shape, Pass pass, DType compute) {
  Context& context = bench_context();
  const auto offsets = make_offsets(shape.rows, shape.experts, shape.skewed);
  const Tensor x = random_tensor(shape.rows, shape.d, 1);
  const Tensor y = random_tensor(shape.rows, shape.f, 2);
  const Tensor w = random_tensor(shape.experts * shape.f, shape.d, 3);
  std::vector<PackedMatrix> packed(static_cast<std::size_t>(shape.experts));
  std::vector<const PackedMatrix*> matrices;
  std::vector<MatrixView<float>> gradients;
  for (std::size_t e = 0; e < packed.size(); ++e) {
    const auto rows = w.matrix<float>().rows_range(static_cast<std::int64_t>(e) * shape.f, shape.f);
    if (pass != Pass::kWeightGradient) {
      packed[e].pack(context, MatrixView<const float>(rows), compute, pass == Pass::kInputGradient);
    }
    matrices.push_back(&packed[e]);
    gradients.push_back(rows);
  }
  const double seconds = fastest(state, [&] {
    if (pass == Pass::kForward) {
      grouped_matmul(context, x.matrix<float>(), offsets, matrices, y.matrix<float>());
    } else if (pass == Pass::kInputGradient) {
      grouped_matmul(context, y.matrix<float>(), offsets, matrices, x.matrix<float>());
    } else {
      grouped_matmul_grad_weight(context, y.matrix<float>(), x.matrix<float>(), offsets, compute,
                                 gradients);
    }
  });
  const double rows = static_cast<double>(shape.rows);
  report(state, seconds, 2 * rows * static_cast<double>(shape.d) * static_cast<double>(shape.f),
         compute);
  state.counters["ns_row"] = seconds / rows * 1e9;
}

// m rows times one packed matrix of each of 48 MB or more in turn, as a decoder reads its layers.
void decode(benchmark::State& state, std::int64_t m, std::int64_t n, std::int64_t k,
            DType compute) {
  Context& context = bench_context();
  const Tensor x = random_tensor(m, k, 1);
  const Tensor y = random_tensor(m, n, 2);
  const Tensor w = random_tensor(n, k, 3);
  std::vector<PackedMatrix> layers;
  std::size_t bytes = 0;
  do {
    layers.emplace_back();
    layers.back().pack(context, w.matrix<const float>(), compute);
    bytes += layers.back().bytes();
  } while (bytes < std::size_t{128} << 20);
  const double seconds = fastest(state, [&] {
    for (const PackedMatrix& layer : layers) {
      matmul(context, x.matrix<float>(), layer, y.matrix<float>());
    }
  });
  const double calls = static_cast<double>(layers.size());
  report(state, seconds,
         2 * calls * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k),
         compute);
  state.counters["gbps"] = static_cast<double>(bytes) / seconds * 1e-9;
  state.counters["roof"] = static_cast<double>(bytes) / seconds * 1e-9 / bench_roofline().read_gbps;
}

void pack_weights(benchmark::State& state, bool transposed, DType compute) {
  Context& context = bench_context();
  const Tensor w = random_tensor(16 * 512, 256, 3);
  std::vector<PackedMatrix> packed(16);
  const double seconds = fastest(state, [&] {
    for (std::size_t e = 0; e < packed.size(); ++e) {
      packed[e].pack(context,
                     MatrixView<const float>(
                         w.matrix<float>().rows_range(static_cast<std::int64_t>(e) * 512, 512)),
                     compute, transposed);
    }
  });
  const double bytes = static_cast<double>(w.bytes() + 16 * packed[0].bytes());
  state.counters["gbps"] = bytes / seconds * 1e-9;
  state.counters["roof"] = bytes / seconds * 1e-9 / bench_roofline().read_gbps;
}

constexpr Case kCases[] = {
    {"demo_gate_up", 16384, 256, 768, 16, false},
    {"demo_down", 16384, 384, 256, 16, false},
    {"e8", 16384, 256, 512, 8, false},
    {"e16", 16384, 256, 512, 16, false},
    {"e32", 16384, 256, 512, 32, false},
    {"e64", 16384, 256, 512, 64, false},
    {"e8_skew", 16384, 256, 512, 8, true},
    {"e64_skew", 16384, 256, 512, 64, true},
    {"e16_f256", 8192, 256, 256, 16, true},
    {"e16_d512_f1024", 8192, 512, 1024, 16, true},
    {"e64_d512_f256", 16384, 512, 256, 64, true},
    {"dense_d256", 8192, 256, 256, 1, false},
    {"dense_d512", 4096, 512, 512, 1, false},
    {"head_d256", 2048, 256, 8192, 1, false},
};

int register_all() {
  struct PassName {
    Pass pass;
    const char* name;
  };
  constexpr PassName kPasses[] = {
      {Pass::kForward, "forward"}, {Pass::kInputGradient, "dx"}, {Pass::kWeightGradient, "dw"}};
  for (DType compute : {DType::kBF16, DType::kF32}) {
    const std::string type = dtype_name(compute);
    for (const Case& shape : kCases) {
      for (const PassName& pass : kPasses) {
        benchmark::RegisterBenchmark(
            (type + "/" + shape.name + "/" + pass.name).c_str(),
            [=](benchmark::State& state) { grouped(state, shape, pass.pass, compute); })
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
      }
    }
    for (std::int64_t m : {1, 4, 8}) {
      for (std::int64_t n : {768, 2048, 8192}) {
        benchmark::RegisterBenchmark(
            (type + "/decode/m" + std::to_string(m) + "_n" + std::to_string(n) + "_k2048").c_str(),
            [=](benchmark::State& state) { decode(state, m, n, 2048, compute); })
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
      }
    }
    for (bool transposed : {false, true}) {
      benchmark::RegisterBenchmark(
          (type + "/pack" + (transposed ? "_transposed" : "")).c_str(),
          [=](benchmark::State& state) { pack_weights(state, transposed, compute); })
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
    }
  }
  return 0;
}

[[maybe_unused]] const int kRegistered = register_all();

}  // namespace
}  // namespace conclave::ops
