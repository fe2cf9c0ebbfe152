// Every kernel of the list that this machine can run, one thread: packing 4 MiB of f32, and a full
// tile times eight panels that stay in the caches, in GFLOP/s. The roof is in bench_ops, whose
// products have also to fetch their operands.
#include <benchmark/benchmark.h>

#include <cstring>
#include <string>

#include "kernels/matmul/matmul_kernels.h"
#include "tensor/tensor.h"

namespace conclave::kernels {
namespace {

AlignedBuffer zeros(std::int64_t bytes) {
  AlignedBuffer buffer(static_cast<std::size_t>(bytes));
  std::memset(buffer.data(), 0, buffer.size());
  return buffer;
}

void product(benchmark::State& state, const MatmulKernels& kernel, std::int64_t rows) {
  constexpr std::int64_t kK = 256;
  const std::int64_t n = kernel.panel * 8;
  const AlignedBuffer left = zeros(kernel.left_size(rows, kK));
  const AlignedBuffer right = zeros(8 * kernel.panel_size(kK));
  const AlignedBuffer y = zeros(rows * n * 4);
  const MatmulTile tile = {
      left.data(), right.data(), kernel.units(kK), rows, n, reinterpret_cast<float*>(y.data()),
      n,           false};
  for (auto _ : state) kernel.product(tile);
  state.counters["flops"] = benchmark::Counter(2.0 * static_cast<double>(rows * n * kK),
                                               benchmark::Counter::kIsIterationInvariantRate);
}

// Calls pack(source) for every `step` elements of 4 MiB.
template <class Pack>
void packing(benchmark::State& state, std::int64_t step, const Pack& pack) {
  constexpr std::int64_t kElements = 1 << 20;
  const AlignedBuffer source = zeros(kElements * 4);
  const auto* elements = reinterpret_cast<const float*>(source.data());
  for (auto _ : state) {
    for (std::int64_t at = 0; at + step <= kElements; at += step) pack(elements + at);
  }
  state.SetBytesProcessed(state.iterations() * kElements * 4);
}

void register_kernel(const MatmulKernels& kernel) {
  constexpr std::int64_t kK = 256;
  const std::string name =
      std::string("matmul/") + sys::isa_name(kernel.isa) + "/" + dtype_name(kernel.compute);
  for (int rows : {1, kernel.rows / 2, kernel.rows}) {
    benchmark::RegisterBenchmark((name + "/product_m" + std::to_string(rows)).c_str(),
                                 [&kernel, rows](auto& state) { product(state, kernel, rows); });
  }
  benchmark::RegisterBenchmark((name + "/left_by_rows").c_str(), [&kernel](auto& state) {
    const AlignedBuffer packed = zeros(kernel.left_size(kernel.rows, kK));
    packing(state, kernel.rows * kK, [&](const float* source) {
      kernel.left_by_rows(source, kK, kernel.rows, kK, packed.data());
    });
  });
  benchmark::RegisterBenchmark((name + "/right_by_rows").c_str(), [&kernel](auto& state) {
    const AlignedBuffer packed = zeros(kernel.panel_size(kK));
    packing(state, kernel.panel * kK, [&](const float* source) {
      kernel.right_by_rows(source, kK, kernel.panel, kK, packed.data());
    });
  });
  benchmark::RegisterBenchmark((name + "/right_by_columns").c_str(), [&kernel](auto& state) {
    const AlignedBuffer packed = zeros(kernel.panel_size(kK));
    packing(state, kernel.panel * kK, [&](const float* source) {
      kernel.right_by_columns(source, kernel.panel, kernel.panel, kK, packed.data());
    });
  });
}

int register_all() {
  for (const MatmulKernels* kernel : all_matmul_kernels()) {
    if (kernel->isa <= sys::machine_isa()) register_kernel(*kernel);
  }
  return 0;
}

[[maybe_unused]] const int kRegistered = register_all();

}  // namespace
}  // namespace conclave::kernels
