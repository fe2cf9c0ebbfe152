// Attention of a training batch: 32 sequences, causal half counted, GFLOP/s of wall time over all
// threads. Roof of the Zen 4 machines used here: 114 GFLOP/s a thread.
#include <benchmark/benchmark.h>

#include <cstring>
#include <vector>

#include "base/rng.h"
#include "ops/attention_testing.h"

namespace conclave::ops {
namespace {

constexpr int kSequences = 32;

struct Batch {
  AttentionShape shape;
  std::int64_t length, rows;
  std::vector<float> q, k, v, out, lse, d_out, dq, dk, dv;
  std::vector<testing::KvMemory<KvType::kF32>> caches;
  std::vector<AttentionSegment> segments;

  Batch(std::int64_t tokens, int heads, int kv_heads, int dim)
      : shape{heads, kv_heads, dim, 0.125f, 0}, length(tokens), rows(kSequences * tokens) {
    const auto of = [&](int n_heads) {
      return std::vector<float>(static_cast<std::size_t>(rows * n_heads * dim));
    };
    q = out = d_out = dq = of(heads);
    k = v = dk = dv = of(kv_heads);
    lse.resize(static_cast<std::size_t>(rows * heads));
    const Rng rng(1);
    for (auto* array : {&q, &k, &v, &d_out}) {
      for (std::size_t i = 0; i < array->size(); ++i) {
        (*array)[i] = static_cast<float>(rng.uniform(i) - 0.5);
      }
    }
    caches.reserve(kSequences);
    for (std::int64_t s = 0; s < kSequences; ++s) {
      caches.emplace_back(1, shape, tokens);
      segments.push_back({s * tokens, tokens, 0, caches.back().view()});
    }
  }
  MatrixView<float> view(std::vector<float>& x) const {
    return {x.data(), rows, static_cast<std::int64_t>(x.size()) / rows};
  }
  // Flops of one product of the forward pass, of which it has two and the backward pass five.
  double product_flops() const {
    const auto pairs = static_cast<double>(length * (length + 1) / 2);
    return 2 * pairs * shape.head_dim * shape.n_heads * kSequences;
  }
};

Batch batch_of(const benchmark::State& state) {
  return Batch(state.range(1), static_cast<int>(state.range(2)), static_cast<int>(state.range(3)),
               static_cast<int>(state.range(4)));
}

void report(benchmark::State& state, double flops) {
  state.counters["GFLOP/s"] =
      benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

void attention_forward(benchmark::State& state) {
  Context context(static_cast<int>(state.range(0)));
  Batch b = batch_of(state);
  for (auto _ : state) {
    kv_append(context, b.shape, b.segments, b.view(b.k), b.view(b.v));
    attention_forward(context, b.shape, b.segments, b.view(b.q), b.view(b.out), b.lse.data());
  }
  report(state, 2 * b.product_flops());
}

void attention_backward(benchmark::State& state) {
  Context context(static_cast<int>(state.range(0)));
  Batch b = batch_of(state);
  kv_append(context, b.shape, b.segments, b.view(b.k), b.view(b.v));
  attention_forward(context, b.shape, b.segments, b.view(b.q), b.view(b.out), b.lse.data());
  for (auto _ : state) {
    attention_backward(context, b.shape, b.segments, b.view(b.q), b.view(b.out), b.lse.data(),
                       b.view(b.d_out), b.view(b.dq), b.view(b.dk), b.view(b.dv));
  }
  report(state, 5 * b.product_flops());
}

// One token over a context, 16 layers in turn, so that each comes from memory.
template <KvType kType>
void attention_decode(benchmark::State& state) {
  Context context(static_cast<int>(state.range(0)));
  const std::int64_t depth = state.range(1);
  const int heads = static_cast<int>(state.range(2)), kv_heads = static_cast<int>(state.range(3));
  const int dim = static_cast<int>(state.range(4));
  const AttentionShape shape{heads, kv_heads, dim, 0.1f, 0};
  constexpr int kLayers = 16;
  const std::int64_t layer_bytes = kv_block_bytes(kv_heads, dim, kType);
  std::vector<AlignedBuffer> pages;  // in huge pages of the system, as a model's
  std::vector<std::byte*> blocks;
  for (std::int64_t i = 0; i < depth / kKeyBlock; ++i) {
    const AlignedBuffer& page = pages.emplace_back(static_cast<std::size_t>(kLayers * layer_bytes));
    std::memset(page.data(), 0, page.size());
    blocks.push_back(page.data());
  }
  std::vector<float> q(static_cast<std::size_t>(heads * dim), 0.5f), out(q.size());
  const auto view = [&](std::vector<float>& x) {
    return MatrixView<float>(x.data(), 1, static_cast<std::int64_t>(x.size()));
  };
  for (auto _ : state) {
    for (int layer = 0; layer < kLayers; ++layer) {
      const AttentionSegment segment{
          0, 1, depth - 1, KvView{blocks.data(), depth / kKeyBlock, layer * layer_bytes, kType}};
      attention_forward(context, shape, {&segment, 1}, view(q), view(out), nullptr);
    }
  }
  state.SetBytesProcessed(state.iterations() * kLayers * depth / kKeyBlock * layer_bytes);
}

void depths(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"threads", "depth", "H", "G", "Q"})->UseRealTime();
  benchmark->Unit(benchmark::kMillisecond);
  for (int threads : {1, 2}) {
    benchmark->Args({threads, 2048, 16, 16, 128})->Args({threads, 8192, 32, 4, 128});
    benchmark->Args({threads, 4096, 16, 1, 576});  // latent attention (DeepSeek-V2-Lite)
  }
}
BENCHMARK(attention_decode<KvType::kF32>)->Apply(depths);
BENCHMARK(attention_decode<KvType::kQ8_0>)->Apply(depths);
BENCHMARK(attention_decode<KvType::kF16>)->Apply(depths);

void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"threads", "tokens", "H", "G", "Q"})->UseRealTime();
  benchmark->Unit(benchmark::kMillisecond);
  for (int threads : {1, 2}) {
    benchmark->Args({threads, 256, 8, 4, 32})->Args({threads, 512, 8, 4, 64});
  }
}
BENCHMARK(attention_forward)->Apply(sizes);
BENCHMARK(attention_backward)->Apply(sizes);

}  // namespace
}  // namespace conclave::ops
