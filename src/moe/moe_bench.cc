// Cost of routing beside the experts: every router of the registry, plan, permutation, losses and
// statistics, at T = 8192 tokens on one thread. Compare with the layer: T = 8192, E = 16, K = 2,
// D = 256, F = 512 is 12.9 GFlop forward.
#include <benchmark/benchmark.h>

#include <cstring>

#include "moe/losses.h"
#include "moe/permute.h"
#include "moe/plan.h"
#include "moe/routers/test_cases.h"
#include "moe/statistics.h"

namespace conclave::moe {
namespace {

using testing::RouterCase;
using testing::RouterData;

constexpr int kTokens = 8192;

RouterCase make_case(std::string_view kind, int n_experts, int k, bool training) {
  RouterCase test;
  test.config = default_router_config(kind);
  test.config.n_experts = n_experts;
  test.config.k = kind == "switch_top1" ? 1 : k;
  test.training = training;
  return test;
}

void router_forward_bench(benchmark::State& state, const std::string& kind) {
  const RouterCase test = make_case(kind, static_cast<int>(state.range(0)),
                                    static_cast<int>(state.range(1)), state.range(2) != 0);
  const RouterData<float> data(test, kTokens, 1);
  ops::Context context(1);
  RoutingDecision decision;
  for (auto _ : state) {
    router_forward(context, test.config, data.input, decision);
    benchmark::DoNotOptimize(decision.topk_ids_TK.data());
  }
  state.SetItemsProcessed(state.iterations() * kTokens);
}

void router_backward_bench(benchmark::State& state, const std::string& kind) {
  const RouterCase test = make_case(kind, static_cast<int>(state.range(0)),
                                    static_cast<int>(state.range(1)), state.range(2) != 0);
  const RouterData<float> data(test, kTokens, 1);
  ops::Context context(1);
  const auto decision = router_forward(context, test.config, data.input);
  const std::vector<float> d_weights(decision.topk_weights_TK.size(), 0.5f);
  const std::vector<float> d_scores(decision.scores_TE.size(), 0.25f);
  std::vector<float> d_logits(data.logits_TE.size());
  std::vector<float> d_noise(data.logits_TE.size());
  const bool noisy = data.input.noise_logits_TE != nullptr;
  for (auto _ : state) {
    router_backward(context, test.config, data.input, decision,
                    RouterGradients{d_weights.data(), d_scores.data(), d_logits.data(),
                                    noisy ? d_noise.data() : nullptr});
    benchmark::DoNotOptimize(d_logits.data());
  }
  state.SetItemsProcessed(state.iterations() * kTokens);
}

const int kRegistered = [] {
  for (const std::string& kind : testing::router_names()) {
    for (const bool forward : {true, false}) {
      auto* bench = benchmark::RegisterBenchmark(
          ((forward ? "router_forward/" : "router_backward/") + kind).c_str(),
          forward ? router_forward_bench : router_backward_bench, kind);
      bench->ArgNames({"E", "K", "training"})->Unit(benchmark::kMillisecond);
      for (const auto& [n, k] : {std::pair{16, 2}, {64, 8}}) {
        bench->Args({n, k, 0});
        if (router_traits(kind).needs_noise_logits) bench->Args({n, k, 1});
      }
    }
  }
  return 0;
}();

struct Routed {
  ops::Context context{1};
  RoutingDecision decision;
  DispatchPlan plan;

  Routed(int n_experts, int k) {
    const RouterCase test = make_case("softmax_topk", n_experts, k, false);
    const RouterData<float> data(test, kTokens, 1);
    router_forward(context, test.config, data.input, decision);
    plan = make_plan(decision);
  }
};

void make_plan_bench(benchmark::State& state) {
  const Routed routed(static_cast<int>(state.range(0)), static_cast<int>(state.range(1)));
  for (auto _ : state) benchmark::DoNotOptimize(make_plan(routed.decision).row_token_N.data());
}
BENCHMARK(make_plan_bench)
    ->ArgNames({"E", "K"})
    ->Args({16, 2})
    ->Args({64, 8})
    ->Unit(benchmark::kMillisecond);

void statistics_bench(benchmark::State& state) {
  const Routed routed(static_cast<int>(state.range(0)), static_cast<int>(state.range(1)));
  RoutingStatistics statistics;
  for (auto _ : state) statistics.add(routed.decision);
}
BENCHMARK(statistics_bench)
    ->ArgNames({"E", "K"})
    ->Args({16, 2})
    ->Args({64, 8})
    ->Unit(benchmark::kMillisecond);

void load_balance_bench(benchmark::State& state) {
  const Routed routed(static_cast<int>(state.range(0)), static_cast<int>(state.range(1)));
  std::vector<float> d_scores(routed.decision.scores_TE.size());
  for (auto _ : state) {
    benchmark::DoNotOptimize(load_balance_loss(routed.decision, {}, d_scores.data()));
  }
}
BENCHMARK(load_balance_bench)
    ->ArgNames({"E", "K"})
    ->Args({16, 2})
    ->Args({64, 8})
    ->Unit(benchmark::kMillisecond);

void z_loss_bench(benchmark::State& state) {
  Routed routed(static_cast<int>(state.range(0)), static_cast<int>(state.range(1)));
  std::vector<float> d_logits(routed.decision.logits_TE.size());
  for (auto _ : state) {
    benchmark::DoNotOptimize(z_loss(routed.context, routed.decision, 1e-3, d_logits.data()));
  }
}
BENCHMARK(z_loss_bench)
    ->ArgNames({"E", "K"})
    ->Args({16, 2})
    ->Args({64, 8})
    ->Unit(benchmark::kMillisecond);

// The four passes of the permutation; bytes are those read and written once. `copy` is the roof: a
// memcpy of the routed rows.
enum Pass { kCopy, kPermute, kPermuteBackward, kUnpermute, kUnpermuteBackward };

void permute_bench(benchmark::State& state, Pass pass) {
  Routed routed(16, 2);
  const std::int64_t width = state.range(0);
  const auto n_rows = routed.plan.n_rows();
  std::vector<float> tokens(static_cast<std::size_t>(kTokens * width), 1.0f);
  std::vector<float> rows(static_cast<std::size_t>(n_rows * width), 1.0f);
  std::vector<float> d_rows(rows.size(), 1.0f);
  std::vector<float> d_weights(routed.decision.topk_weights_TK.size());
  const MatrixView<float> x(tokens.data(), kTokens, width);
  const MatrixView<float> r(rows.data(), n_rows, width);
  const MatrixView<float> d_r(d_rows.data(), n_rows, width);
  ops::Context& context = routed.context;
  std::int64_t moved = (kTokens + n_rows) * width * 4;
  if (pass == kCopy || pass == kUnpermuteBackward) moved = 2 * n_rows * width * 4;
  if (pass == kUnpermuteBackward) moved += kTokens * width * 4;
  for (auto _ : state) {
    switch (pass) {
      case kCopy:
        std::memcpy(d_rows.data(), rows.data(), rows.size() * sizeof(float));
        break;
      case kPermute:
        permute_forward<float>(context, x, routed.plan, r);
        break;
      case kPermuteBackward:
        permute_backward<float>(context, r, routed.plan, x, Write::kAssign);
        break;
      case kUnpermute:
        unpermute_forward<float>(context, r, routed.plan, routed.decision, x, Write::kAssign);
        break;
      case kUnpermuteBackward:
        unpermute_backward<float>(context, x, r, routed.plan, routed.decision, d_r,
                                  d_weights.data());
        break;
    }
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * moved);
}
BENCHMARK_CAPTURE(permute_bench, copy, kCopy)->ArgName("D")->Arg(256)->Arg(1024);
BENCHMARK_CAPTURE(permute_bench, permute_forward, kPermute)->ArgName("D")->Arg(256)->Arg(1024);
BENCHMARK_CAPTURE(permute_bench, permute_backward, kPermuteBackward)
    ->ArgName("D")
    ->Arg(256)
    ->Arg(1024);
BENCHMARK_CAPTURE(permute_bench, unpermute_forward, kUnpermute)->ArgName("D")->Arg(256)->Arg(1024);
BENCHMARK_CAPTURE(permute_bench, unpermute_backward, kUnpermuteBackward)
    ->ArgName("D")
    ->Arg(256)
    ->Arg(1024);

}  // namespace
}  // namespace conclave::moe
