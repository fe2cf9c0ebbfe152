// What one router file provides to the registry, and the loop over tokens that most of them share.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>

#include "moe/router.h"

namespace conclave::moe {

template <class Real>
struct RouterPasses {
  void (*forward)(ops::Context&, const RouterConfig&, const RouterInputOf<Real>&,
                  RoutingDecisionOf<Real>&);
  void (*backward)(ops::Context&, const RouterConfig&, const RouterInputOf<Real>&,
                   const RoutingDecisionOf<Real>&, const RouterGradientsOf<Real>&);
};

struct RouterSpec {
  RouterTraits traits;
  // Changes to RouterConfig's own defaults; may be null.
  void (*set_defaults)(RouterConfig& config);
  // Checks beyond those every router shares (ranges, groups, unused fields); may be null.
  void (*validate)(const RouterConfig& config);
  // Slots per token; null: config.k.
  int (*slots)(const RouterConfig& config);
  RouterPasses<float> f32;
  RouterPasses<double> f64;

  template <class Real>
  const RouterPasses<Real>& passes() const {
    if constexpr (sizeof(Real) == sizeof(float)) {
      return f32;
    } else {
      return f64;
    }
  }
};

// Calls body(t, scratch) for every token, split over threads; `scratch` is scratch_count elements
// that one thread owns. body returns whether the token's numbers were all finite and must not
// throw. Returns the first token where they were not, or -1.
template <class Real, class Body>
std::int32_t for_each_token(ops::Context& context, int n_tokens, std::int64_t scratch_count,
                            const Body& body) {
  constexpr int kGrain = 64;  // some microseconds of work: less is not worth waking a thread
  constexpr std::int64_t kLine = 64 / sizeof(Real);
  const std::int64_t stride = (scratch_count + kLine - 1) / kLine * kLine;
  const int threads = std::min(context.pool.size(), (n_tokens + kGrain - 1) / kGrain);
  if (threads <= 0) return -1;
  Real* const scratch = context.scratch<Real>(ops::Context::kGather, stride * threads + kLine);
  std::atomic<std::int32_t> first_bad{std::numeric_limits<std::int32_t>::max()};
  const auto run = [&](int thread) {
    if (thread >= threads) return;
    const auto begin = static_cast<std::int32_t>(std::int64_t{n_tokens} * thread / threads);
    const auto end = static_cast<std::int32_t>(std::int64_t{n_tokens} * (thread + 1) / threads);
    std::int32_t bad = std::numeric_limits<std::int32_t>::max();
    for (std::int32_t t = begin; t < end; ++t) {
      if (!body(t, scratch + stride * thread)) bad = std::min(bad, t);
    }
    std::int32_t seen = first_bad.load();
    while (bad < seen && !first_bad.compare_exchange_weak(seen, bad)) {
    }
  };
  if (threads == 1) {
    run(0);
  } else {
    context.pool.run(run);
  }
  const std::int32_t bad = first_bad.load();
  return bad == std::numeric_limits<std::int32_t>::max() ? -1 : bad;
}

// Weights of a token whose logits are not finite: NaN, so that its output cannot be mistaken for
// an answer.
template <class Real>
void poison(Real* values, int n) {
  std::fill_n(values, n, std::numeric_limits<Real>::quiet_NaN());
}

}  // namespace conclave::moe
