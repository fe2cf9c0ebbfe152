// The noise of noisy top-k (Shazeer et al. 2017, eq. 4), shared by the router and its load loss.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

#include "base/rng.h"
#include "moe/rows.h"

namespace conclave::moe {

// Standard normals of one token, a function of (rng, token, n, e): four experts a block of Philox,
// by Box-Muller with both of its outputs.
template <class Real>
void router_noise_row(const Rng& rng, std::uint64_t token, int n, Real* noise_E) {
  constexpr float kTurn = 0x1p-31f * std::numbers::pi_v<float>;
  const std::uint64_t blocks = (static_cast<std::uint64_t>(n) + 3) / 4;
  for (int e = 0; e < n; e += 4) {
    const auto words = rng.block(token * blocks + static_cast<std::uint64_t>(e) / 4);
    float normal[4];  // f32 whatever Real is: the same noise, and four times as fast as f64
    for (std::size_t pair = 0; pair < 2; ++pair) {  // u1 in (0, 1]
      const float u1 = (static_cast<float>(words[2 * pair]) + 1.0f) * 0x1p-32f;
      const float angle = static_cast<float>(words[2 * pair + 1]) * kTurn;
      const float radius = std::sqrt(-2.0f * std::log(u1));
      normal[2 * pair] = radius * std::cos(angle);
      normal[2 * pair + 1] = radius * std::sin(angle);
    }
    for (int i = 0; i < 4 && e + i < n; ++i) noise_E[e + i] = static_cast<Real>(normal[i]);
  }
}

// H = z + noise * (softplus(u) + floor).
template <class Real>
void noisy_logits_row(const Real* z_E, const Real* u_E, const Real* noise_E, Real floor, int n,
                      Real* h_E) {
  for (int e = 0; e < n; ++e) h_E[e] = z_E[e] + noise_E[e] * (softplus(u_E[e]) + floor);
}

}  // namespace conclave::moe
