// Products with quantised weights at the shapes of published models, as a share of this machine's
// roof, all threads:
//   prefill   512 tokens through the experts of OLMoE-1B-7B (64, 8 a token) and Qwen3-30B-A3B
//             (128, 8 a token), loads skewed (1 / sqrt of the expert's rank) or equal
//   few       64 tokens of the same: 8 or 4 rows an expert
//   decode    1, 4, 16 tokens: one row for each of 8 experts a token, layer after layer
// The counters:
//   gops   operations (a multiply-add is two) of the fastest call; `peak` its share of int8's peak
//   gbps   weights read, and `roof` its share of the read bandwidth
// Threads: CONCLAVE_BENCH_THREADS, or every core.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/rng.h"
#include "kernels/qmatmul/qmatmul_testing.h"
#include "ops/matmul.h"
#include "sys/roofline.h"

namespace conclave::ops {
namespace {

Context& bench_context() {
  static const char* threads = std::getenv("CONCLAVE_BENCH_THREADS");
  static Context context(threads != nullptr ? std::atoi(threads) : sys::default_thread_count());
  return context;
}

const sys::Roofline& roofline() {
  static const sys::Roofline roof = sys::measure_roofline(bench_context().pool, 2.0);
  return roof;
}

struct Shape {
  const char* name;
  std::int64_t experts, n, k, used;  // `used` experts a token
};
constexpr Shape kShapes[] = {
    {"olmoe_gate_up", 64, 2048, 2048, 8},
    {"olmoe_down", 64, 2048, 1024, 8},
    {"qwen3_gate_up", 128, 1536, 2048, 8},
    {"dense_2048", 1, 6144, 2048, 1},
};
constexpr QuantType kTypes[] = {QuantType::kQ4_0, QuantType::kQ8_0, QuantType::kQ4_K,
                                QuantType::kQ6_K, QuantType::kMXFP4};

// Equal rows for each expert, or falling as 1 / sqrt(1 + e): the busiest has about four times the
// mean, as trained routers give.
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

void report(benchmark::State& state, double seconds, double ops, double bytes) {
  state.counters["gops"] = ops / seconds * 1e-9;
  state.counters["peak"] = ops / seconds * 1e-9 / std::max(1e-9, roofline().int8_gops);
  state.counters["gbps"] = bytes / seconds * 1e-9;
  state.counters["roof"] = bytes / seconds * 1e-9 / roofline().read_gbps;
}

// Calls `body(i)` as often as the benchmark asks and keeps the fastest call.
template <class Body>
double fastest(benchmark::State& state, const Body& body) {
  using Clock = std::chrono::steady_clock;
  double best = 1e30;
  std::size_t i = 0;
  body(i++);
  for (auto _ : state) {
    const auto start = Clock::now();
    body(i++);
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

// Matrices of 200 MB and more, so that no cache holds them; most share their source.
std::vector<PackedMatrix> make_weights(const Shape& shape, QuantType type, std::int64_t least) {
  const auto blocks = conclave::testing::random_blocks(type, shape.n * shape.k, 3);
  const BlockRows rows[] = {{type, shape.n, blocks}};
  const std::int64_t each = quant_bytes(type, shape.n * shape.k);
  std::vector<PackedMatrix> weights(
      static_cast<std::size_t>(std::max(least, (std::int64_t{200} << 20) / each)));
  for (PackedMatrix& w : weights) w.pack_blocks(bench_context(), shape.k, rows);
  return weights;
}

void grouped(benchmark::State& state, const Shape& shape, QuantType type, std::int64_t tokens,
             bool skewed) {
  Context& context = bench_context();
  const auto weights = make_weights(shape, type, shape.experts);
  std::vector<const PackedMatrix*> matrices;
  for (std::int64_t e = 0; e < shape.experts; ++e) {
    matrices.push_back(&weights[static_cast<std::size_t>(e)]);
  }
  const std::int64_t rows = tokens * shape.used;
  const auto offsets = make_offsets(rows, shape.experts, skewed);
  Tensor x(DType::kF32, {rows, shape.k}), y(DType::kF32, {rows, shape.n});
  const Rng rng(1);
  for (std::size_t i = 0; i < x.span<float>().size(); ++i) {
    x.span<float>()[i] = static_cast<float>(rng.uniform(i % 8192)) - 0.5f;
  }
  const double seconds = fastest(state, [&](std::size_t) {
    grouped_matmul(context, x.matrix<float>(), offsets, matrices, y.matrix<float>());
  });
  std::int64_t used = 0;
  for (std::size_t e = 0; e + 1 < offsets.size(); ++e) used += offsets[e] < offsets[e + 1];
  report(state, seconds, 2.0 * static_cast<double>(rows * shape.n * shape.k),
         static_cast<double>(used * quant_bytes(type, shape.n * shape.k)));
}

// `tokens` rows for each of the used experts; every call takes other matrices.
void decode(benchmark::State& state, const Shape& shape, QuantType type, std::int64_t tokens) {
  Context& context = bench_context();
  const auto weights = make_weights(shape, type, shape.used);
  const auto calls = weights.size() / static_cast<std::size_t>(shape.used);
  std::vector<std::int32_t> offsets;
  for (std::int64_t e = 0; e <= shape.used; ++e) {
    offsets.push_back(static_cast<std::int32_t>(e * tokens));
  }
  const std::int64_t rows = tokens * shape.used;
  Tensor x(DType::kF32, {rows, shape.k}), y(DType::kF32, {rows, shape.n});
  std::fill(x.span<float>().begin(), x.span<float>().end(), 0.5f);
  const double seconds = fastest(state, [&](std::size_t) {
    std::vector<const PackedMatrix*> matrices(static_cast<std::size_t>(shape.used));
    for (std::size_t call = 0; call < calls; ++call) {
      for (std::size_t e = 0; e < matrices.size(); ++e) {
        matrices[e] = &weights[call * matrices.size() + e];
      }
      grouped_matmul(context, x.matrix<float>(), offsets, matrices, y.matrix<float>());
    }
  });
  const auto n = static_cast<double>(calls);
  report(state, seconds, 2.0 * n * static_cast<double>(rows * shape.n * shape.k),
         n * static_cast<double>(shape.used * quant_bytes(type, shape.n * shape.k)));
}

int register_all() {
  const auto add = [](const std::string& name, const auto& body) {
    benchmark::RegisterBenchmark(name.c_str(), body)->UseRealTime()->Unit(benchmark::kMillisecond);
  };
  for (QuantType type : kTypes) {
    for (const Shape& shape : kShapes) {
      const std::string name =
          std::string("quant/") + quant_info(type).name + "/" + shape.name + "/";
      for (std::int64_t tokens : {512, 64, 16}) {
        add(name + "prefill" + std::to_string(tokens),
            [=](benchmark::State& state) { grouped(state, shape, type, tokens, false); });
      }
      if (shape.experts > 1) {
        add(name + "prefill512_skewed",
            [=](benchmark::State& state) { grouped(state, shape, type, 512, true); });
      }
      for (std::int64_t tokens : {1, 2, 4, 8}) {
        add(name + "decode" + std::to_string(tokens),
            [=](benchmark::State& state) { decode(state, shape, type, tokens); });
      }
    }
  }
  return 0;
}

[[maybe_unused]] const int kRegistered = register_all();

}  // namespace
}  // namespace conclave::ops
