// Quantised products of every kernel this machine can run, one thread, K = 2048: 16 panels that
// stay in the second level cache times 1, 4, 8 and 32 rows, in operations a second (a multiply-add
// is two) and bytes of weights read; quantising activations; packing weights.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "kernels/choice.h"
#include "kernels/qmatmul/qmatmul_kernels.h"
#include "kernels/qmatmul/qmatmul_testing.h"
#include "tensor/tensor.h"

namespace conclave::kernels {
namespace {

constexpr std::int64_t kK = 2048;
constexpr std::int64_t kN = 256;

std::vector<float> random_rows(std::int64_t rows) {
  std::vector<float> x(static_cast<std::size_t>(rows * kK));
  const Rng rng(1);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(rng.normal(i));
  return x;
}

std::vector<const float*> rows_of(const std::vector<float>& x, std::int64_t rows) {
  std::vector<const float*> result;
  for (std::int64_t r = 0; r < rows; ++r) result.push_back(x.data() + r * kK);
  return result;
}

AlignedBuffer pack(QuantType type, const std::vector<std::byte>& blocks) {
  const QuantLayout& layout = *quant_layout(type);
  AlignedBuffer panels(static_cast<std::size_t>(kN / kQuantPanel * layout.panel_size(kK)));
  const std::int64_t row_bytes = quant_bytes(type, kK);
  for (std::int64_t p = 0; p < kN / kQuantPanel; ++p) {
    pack_quant_panel(layout, blocks.data() + p * kQuantPanel * row_bytes, row_bytes, kQuantPanel,
                     kK, panels.data() + p * layout.panel_size(kK));
  }
  return panels;
}

void product(benchmark::State& state, const QuantKernels& kernel, QuantType type,
             std::int64_t rows) {
  const auto x = random_rows(rows);
  AlignedBuffer left(static_cast<std::size_t>(kernel.left_layout(type).size(rows, kK)));
  const auto x_rows = rows_of(x, rows);
  kernel.quantize_left(type, x_rows.data(), rows, kK, left.data());
  const AlignedBuffer right = pack(type, testing::random_blocks(type, kN * kK, 2));
  std::vector<float> y(static_cast<std::size_t>(rows * kN));
  const QuantTile tile = {type, left.data(), right.data(), kK, rows, kN, y.data(), kN, false};
  for (auto _ : state) kernel.product(tile);
  state.counters["ops"] = benchmark::Counter(2.0 * static_cast<double>(rows * kN * kK),
                                             benchmark::Counter::kIsIterationInvariantRate);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(right.size()));
}

void quantise(benchmark::State& state, const QuantKernels& kernel, QuantType type) {
  const auto x = random_rows(kQuantRows);
  AlignedBuffer left(static_cast<std::size_t>(kernel.left_layout(type).size(kQuantRows, kK)));
  const auto x_rows = rows_of(x, kQuantRows);
  for (auto _ : state) kernel.quantize_left(type, x_rows.data(), kQuantRows, kK, left.data());
  state.SetBytesProcessed(state.iterations() * kQuantRows * kK * 4);
}

void packing(benchmark::State& state, QuantType type) {
  const auto blocks = testing::random_blocks(type, kN * kK, 2);
  for (auto _ : state) benchmark::DoNotOptimize(pack(type, blocks).data());
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(blocks.size()));
}

int register_all() {
  for (const QuantKernels& kernel : runnable(quant_kernels())) {
    const std::string isa = std::string("qmatmul/") + sys::isa_name(kernel.isa) + "/";
    for (QuantType type : testing::quantised_types()) {
      for (std::int64_t rows : {1, 2, 4, 8, 32}) {
        if (kernel.isa == sys::Isa::kReference && rows > 1) continue;
        benchmark::RegisterBenchmark(
            (isa + quant_info(type).name + "/m" + std::to_string(rows)).c_str(),
            [&kernel, type, rows](auto& state) { product(state, kernel, type, rows); });
      }
    }
    for (QuantType type :
         {QuantType::kQ8_0, QuantType::kQ4_1, QuantType::kQ4_K, QuantType::kQ6_K}) {
      benchmark::RegisterBenchmark((isa + "quantise_for_" + quant_info(type).name).c_str(),
                                   [&kernel, type](auto& state) { quantise(state, kernel, type); });
    }
  }
  for (QuantType type : testing::quantised_types()) {
    benchmark::RegisterBenchmark((std::string("qmatmul/pack/") + quant_info(type).name).c_str(),
                                 [type](auto& state) { packing(state, type); });
  }
  return 0;
}

[[maybe_unused]] const int kRegistered = register_all();

}  // namespace
}  // namespace conclave::kernels
