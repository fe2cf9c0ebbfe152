// The row-wise kernels, one thread, for every instruction set: bytes that the operation must read
// and write, a second. `rows` 64 stays in the second cache and shows the kernel; 16384 shows the
// memory (roofs of the machines used here: 29 GB/s reading, 32 with writes, per thread).
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "base/rng.h"
#include "kernels/adamw/adamw.h"
#include "kernels/choice.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rope/rope.h"
#include "kernels/swiglu/swiglu.h"

namespace conclave::kernels {
namespace {

constexpr std::int64_t kWidth = 512;

// One period of random numbers is enough: no kernel here is quicker for repeated values.
std::vector<float> random_array(std::int64_t count) {
  const Rng rng(1);
  std::vector<float> x(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = i < 65536 ? static_cast<float>(rng.uniform(i) + 0.1) : x[i - 65536];
  }
  return x;
}

// `arrays` is how often each of rows x kWidth floats is read or written.
void report(benchmark::State& state, double arrays) {
  state.SetBytesProcessed(static_cast<std::int64_t>(
      static_cast<double>(state.iterations() * state.range(0) * kWidth) * arrays * sizeof(float)));
}

void rmsnorm_forward(benchmark::State& state, const RmsNormKernel& kernel) {
  const std::int64_t rows = state.range(0);
  auto x = random_array(rows * kWidth), y = x, w = random_array(kWidth), rstd = random_array(rows);
  for (auto _ : state) {
    kernel.forward(
        {x.data(), kWidth, w.data(), y.data(), kWidth, rstd.data(), rows, kWidth, 1e-6f});
  }
  report(state, 2);
}

void rmsnorm_backward(benchmark::State& state, const RmsNormKernel& kernel) {
  const std::int64_t rows = state.range(0);
  auto x = random_array(rows * kWidth), dy = x, dx = x;
  auto w = random_array(kWidth), dw = w, rstd = random_array(rows);
  for (auto _ : state) {
    const RmsNormBackward a{x.data(),  kWidth, w.data(), rstd.data(), dy.data(), kWidth,
                            dx.data(), kWidth, false,    dw.data(),   rows,      kWidth};
    kernel.backward_weight(a);
    kernel.backward_input(a);
  }
  report(state, 5);
}

void rope(benchmark::State& state, const RopeKernel& kernel) {
  constexpr int kDim = 64;
  const std::int64_t rows = state.range(0);
  auto x = random_array(rows * kWidth);
  const std::vector<float> table(256 * kDim, 0.70710678f);  // a turn by 45 degrees
  std::vector<std::int32_t> positions(static_cast<std::size_t>(rows));
  for (std::size_t t = 0; t < positions.size(); ++t) {
    positions[t] = static_cast<std::int32_t>(t % 256);
  }
  for (auto _ : state) {
    kernel.rotate({x.data(), kWidth, rows, static_cast<int>(kWidth / kDim), kDim, kDim,
                   table.data(), positions.data(), false});
  }
  report(state, 2);
}

Swiglu swiglu_arrays(std::vector<float>& x, std::vector<float>& h, std::vector<float>& d,
                     std::int64_t rows) {
  Swiglu a;
  a.gate_up = x.data(), a.gate_up_stride = 2 * kWidth;
  a.h = h.data(), a.dh = h.data(), a.h_stride = a.dh_stride = kWidth;
  a.d_gate_up = d.data(), a.d_gate_up_stride = 2 * kWidth;
  a.rows = rows, a.width = kWidth;
  return a;
}

void swiglu_forward(benchmark::State& state, const SwigluKernel& kernel) {
  const std::int64_t rows = state.range(0);
  auto x = random_array(2 * rows * kWidth), h = random_array(rows * kWidth), d = h;
  for (auto _ : state) kernel.forward(swiglu_arrays(x, h, d, rows));
  report(state, 3);
}

void swiglu_backward(benchmark::State& state, const SwigluKernel& kernel) {
  const std::int64_t rows = state.range(0);
  auto x = random_array(2 * rows * kWidth), h = random_array(rows * kWidth), d = x;
  for (auto _ : state) kernel.backward(swiglu_arrays(x, h, d, rows));
  report(state, 5);
}

// Rows of 4096 logits, as many elements as the others.
void cross_entropy(benchmark::State& state, const CrossEntropyKernel& kernel) {
  constexpr std::int64_t kVocabulary = 4096;
  const std::int64_t rows = state.range(0) * kWidth / kVocabulary;
  auto x = random_array(rows * kVocabulary);
  for (auto _ : state) {
    for (std::int64_t t = 0; t < rows; ++t) {
      benchmark::DoNotOptimize(
          kernel.forward_backward(x.data() + t * kVocabulary, kVocabulary, t % 1000, 1.f));
    }
  }
  report(state, 2);
}

void add(benchmark::State& state, const ElementwiseKernel& kernel) {
  auto x = random_array(state.range(0) * kWidth), y = x;
  for (auto _ : state) kernel.add(x.data(), y.data(), state.range(0) * kWidth);
  report(state, 3);
}

void sum_of_squares(benchmark::State& state, const ElementwiseKernel& kernel) {
  const auto x = random_array(state.range(0) * kWidth);
  for (auto _ : state) {
    benchmark::DoNotOptimize(kernel.sum_of_squares(x.data(), state.range(0) * kWidth));
  }
  report(state, 1);
}

void all_finite(benchmark::State& state, const ElementwiseKernel& kernel) {
  const auto x = random_array(state.range(0) * kWidth);
  for (auto _ : state) {
    benchmark::DoNotOptimize(kernel.all_finite(x.data(), state.range(0) * kWidth));
  }
  report(state, 1);
}

void exponential(benchmark::State& state, const ElementwiseKernel& kernel) {
  auto x = random_array(state.range(0) * kWidth), y = x;
  for (auto _ : state) kernel.exp(x.data(), y.data(), state.range(0) * kWidth);
  report(state, 2);
}

void adamw(benchmark::State& state, const AdamWKernel& kernel) {
  const std::int64_t count = state.range(0) * kWidth;
  auto w = random_array(count), m = w, v = w;
  const auto grad = w;
  AdamWStep step;
  step.lr = 1e-5;
  for (auto _ : state) kernel.step({w.data(), grad.data(), m.data(), v.data(), count}, step);
  report(state, 7);
}

template <class Kernel>
void add_all(const std::string& name, std::span<const Kernel> list,
             void (*body)(benchmark::State&, const Kernel&)) {
  for (const Kernel& kernel : runnable(list)) {
    benchmark::RegisterBenchmark((name + "/" + sys::isa_name(kernel.isa)).c_str(),
                                 [&kernel, body](benchmark::State& state) { body(state, kernel); })
        ->ArgName("rows")
        ->Arg(64)
        ->Arg(16384);
  }
}

const bool kRegistered = [] {
  add_all("rmsnorm_forward", rmsnorm_kernels(), rmsnorm_forward);
  add_all("rmsnorm_backward", rmsnorm_kernels(), rmsnorm_backward);
  add_all("rope", rope_kernels(), rope);
  add_all("swiglu_forward", swiglu_kernels(), swiglu_forward);
  add_all("swiglu_backward", swiglu_kernels(), swiglu_backward);
  add_all("cross_entropy", cross_entropy_kernels(), cross_entropy);
  add_all("add", elementwise_kernels(), add);
  add_all("sum_of_squares", elementwise_kernels(), sum_of_squares);
  add_all("all_finite", elementwise_kernels(), all_finite);
  add_all("exp", elementwise_kernels(), exponential);
  add_all("adamw", adamw_kernels(), adamw);
  return true;
}();

}  // namespace
}  // namespace conclave::kernels
