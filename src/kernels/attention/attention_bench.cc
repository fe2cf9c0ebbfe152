// Attention, one thread: GFLOP/s of the products of the causal half (forward 4, backward 10 flops
// for each pair of query and key and element of the head), for every instruction set. The roof of
// the Zen 4 machines used here is 114 GFLOP/s (32 FMA a cycle at 3.55 GHz).
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "base/rng.h"
#include "kernels/attention/attention.h"
#include "kernels/choice.h"
#include "tensor/tensor.h"

namespace conclave::kernels {
namespace {

struct Setup {
  int tokens, heads, dim;
  AlignedBuffer memory;
  float *kv, *q, *out, *d_out, *dq, *dk, *dv, *lse;
  std::vector<const std::byte*> blocks;

  // `positions` in the cache, `tokens` queries.
  Setup(std::int64_t positions, int n_tokens, int n_heads, int head_dim)
      : tokens(n_tokens), heads(n_heads), dim(head_dim) {
    const std::int64_t count = (positions + kAttentionKeyBlock - 1) / kAttentionKeyBlock;
    const std::int64_t keys = count * kAttentionKeyBlock * dim;
    const std::int64_t rows = std::int64_t{tokens} * heads * dim;
    const std::int64_t floats = 4 * keys + 4 * rows + tokens * heads;
    memory = AlignedBuffer(static_cast<std::size_t>(floats) * sizeof(float));
    float* next = reinterpret_cast<float*>(memory.data());
    const Rng rng(1);
    for (std::int64_t i = 0; i < floats; ++i) {
      next[i] = static_cast<float>(rng.uniform(static_cast<std::uint64_t>(i)) - 0.5);
    }
    kv = next, next += 2 * keys;
    for (std::int64_t i = 0; i < count; ++i) {
      blocks.push_back(reinterpret_cast<const std::byte*>(kv + 2 * i * kAttentionKeyBlock * dim));
    }
    for (float** array : {&dk, &dv}) *array = next, next += keys;
    for (float** array : {&q, &out, &d_out, &dq}) *array = next, next += rows;
    lse = next;
  }
  AttentionForward forward() const {
    AttentionForward a;
    a.kv = {blocks.data(), 0}, a.q = q, a.out = out, a.lse = lse;
    a.q_stride = a.out_stride = heads * dim;
    a.lse_stride = heads;
    a.n_heads = heads, a.head_dim = dim, a.scale = 0.125f;
    return a;
  }
};

// What ops/attention.cc does with a sequence: tiles of tile_rows rows.
void run_sequence(const AttentionKernel& kernel, const AttentionForward& whole,
                  std::int64_t n_tokens, float* scratch) {
  const std::int64_t step = std::max(1, kernel.tile_rows / whole.n_heads);
  for (std::int64_t t = 0; t < n_tokens; t += step) {
    AttentionForward a = whole;
    a.q += t * a.q_stride, a.out += t * a.out_stride, a.lse += t * a.lse_stride;
    a.first_position += t;
    a.n_tokens = std::min(step, n_tokens - t);
    kernel.forward(a, scratch);
  }
}

AlignedBuffer scratch_for(std::int64_t floats) {
  return AlignedBuffer(static_cast<std::size_t>(floats) * sizeof(float) + 64);
}

void report(benchmark::State& state, double flops) {
  state.counters["GFLOP/s"] =
      benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

void forward(benchmark::State& state, const AttentionKernel& kernel) {
  const int tokens = static_cast<int>(state.range(0));
  const Setup s(tokens, tokens, static_cast<int>(state.range(1)), static_cast<int>(state.range(2)));
  const AlignedBuffer scratch = scratch_for(kernel.forward_scratch(tokens, s.heads, s.dim));
  for (auto _ : state) {
    run_sequence(kernel, s.forward(), tokens, reinterpret_cast<float*>(scratch.data()));
  }
  report(state, 4. * s.dim * s.heads * tokens * (tokens + 1) / 2);
}

void backward(benchmark::State& state, const AttentionKernel& kernel) {
  const int tokens = static_cast<int>(state.range(0));
  const Setup s(tokens, tokens, static_cast<int>(state.range(1)), static_cast<int>(state.range(2)));
  AlignedBuffer scratch = scratch_for(kernel.forward_scratch(tokens, s.heads, s.dim));
  run_sequence(kernel, s.forward(), tokens, reinterpret_cast<float*>(scratch.data()));
  scratch = scratch_for(kernel.backward_scratch(tokens, s.heads, s.dim));
  AttentionBackward a;
  a.kv = {s.blocks.data(), 0}, a.q = s.q, a.out = s.out, a.d_out = s.d_out, a.lse = s.lse;
  a.dq = s.dq, a.dk = s.dk, a.dv = s.dv;
  a.q_stride = a.out_stride = a.d_out_stride = a.dq_stride = s.heads * s.dim;
  a.dk_stride = a.dv_stride = s.dim;
  a.lse_stride = s.heads;
  a.n_tokens = tokens, a.n_heads = s.heads, a.head_dim = s.dim, a.scale = 0.125f;
  for (auto _ : state) kernel.backward(a, reinterpret_cast<float*>(scratch.data()));
  report(state, 10. * s.dim * s.heads * tokens * (tokens + 1) / 2);
}

// One query against a long cache: bytes of keys and values read.
void decode(benchmark::State& state, const AttentionKernel& kernel) {
  const std::int64_t positions = state.range(0);
  const Setup s(positions, 1, static_cast<int>(state.range(1)), static_cast<int>(state.range(2)));
  const AlignedBuffer scratch = scratch_for(kernel.forward_scratch(1, s.heads, s.dim));
  AttentionForward a = s.forward();
  a.first_position = positions - 1;
  a.n_tokens = 1;
  for (auto _ : state) kernel.forward(a, reinterpret_cast<float*>(scratch.data()));
  state.SetBytesProcessed(state.iterations() * positions * s.dim * 8);
}

// The same over f16, with what arithmetic it needs.
void decode_half(benchmark::State& state, const AttentionKernel& kernel) {
  const std::int64_t positions = state.range(0);
  const Setup s(positions, 1, static_cast<int>(state.range(1)), static_cast<int>(state.range(2)));
  const AlignedBuffer scratch = scratch_for(kernel.forward_scratch(1, s.heads, s.dim));
  const std::int64_t block = 2 * std::int64_t{kAttentionKeyBlock} * s.dim;
  std::vector<f16> half(static_cast<std::size_t>((positions + 63) / 64 * block));
  for (std::size_t i = 0; i < half.size(); ++i) half[i] = to_f16(s.kv[i]);
  std::vector<const std::byte*> blocks;
  for (std::int64_t i = 0; i * 64 < positions; ++i) {
    blocks.push_back(reinterpret_cast<const std::byte*>(half.data() + i * block));
  }
  AttentionForward a = s.forward();
  a.kv = {}, a.kv_half = {blocks.data(), 0};
  a.first_position = positions - 1;
  a.n_tokens = 1;
  for (auto _ : state) kernel.forward(a, reinterpret_cast<float*>(scratch.data()));
  state.SetBytesProcessed(state.iterations() * positions * s.dim * 4);
  report(state, 4. * s.dim * s.heads * static_cast<double>(positions));
}

const bool kRegistered = [] {
  for (const AttentionKernel& kernel : runnable(attention_kernels())) {
    const std::string isa = sys::isa_name(kernel.isa);
    const auto add = [&](const std::string& name, auto* body) {
      return benchmark::RegisterBenchmark(
          (name + isa).c_str(), [&kernel, body](benchmark::State& state) { body(state, kernel); });
    };
    add("attention_forward/", forward)
        ->ArgNames({"tokens", "heads", "dim"})
        ->Args({256, 2, 32})
        ->Args({512, 2, 64})
        ->Args({512, 1, 64})
        ->Args({512, 4, 128});
    add("attention_backward/", backward)
        ->ArgNames({"tokens", "heads", "dim"})
        ->Args({256, 2, 32})
        ->Args({512, 2, 64})
        ->Args({512, 1, 64})
        ->Args({512, 4, 128});
    add("attention_decode/", decode)
        ->ArgNames({"positions", "heads", "dim"})
        ->Args({512, 4, 64})
        ->Args({32768, 1, 64})
        ->Args({32768, 8, 128});
    add("attention_decode_f16/", decode_half)
        ->ArgNames({"positions", "heads", "dim"})
        ->Args({131072, 1, 128})
        ->Args({512, 1, 128})
        ->Args({512, 4, 128})
        ->Args({512, 8, 128})
        ->Args({512, 16, 128})
        ->Args({32768, 8, 128});
  }
  return true;
}();

}  // namespace
}  // namespace conclave::kernels
