// Attention, plainly: every score is computed where it is needed and nothing is stored. Real is
// float or double. The definition that every kernel is tested against.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/attention/attention.h"

namespace conclave::kernels::reference {

// Element d of the key at position j.
template <class Real>
Real as_number(Real x) noexcept {
  return x;
}
inline float as_number(f16 x) noexcept { return to_float(x); }

inline void to_half(const float* from, f16* to, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < n; ++i) to[i] = to_f16(std::clamp(from[i], -65504.f, 65504.f));
}

inline void to_q8(const float* from, std::int8_t* to, f16* scales, std::int64_t n) noexcept {
  for (std::int64_t begin = 0; begin < n; begin += kKvScaleGroup) {
    const std::int64_t end = std::min<std::int64_t>(n, begin + kKvScaleGroup);
    const auto finite = [](float x) { return std::isfinite(x); };
    float largest = 0;
    for (std::int64_t i = begin; i < end; ++i) largest = std::max(largest, std::abs(from[i]));
    const f16 scale = to_f16(std::min(largest * (1 / 127.f), 65504.f));
    *scales++ = std::all_of(from + begin, from + end, finite) ? scale : f16{0x7e00};
    const float inverse = to_float(scale) > 0 ? 1 / to_float(scale) : 0;
    for (std::int64_t i = begin; i < end; ++i) {
      const float limited = std::clamp(from[i] * inverse, -127.f, 127.f);
      to[i] = std::isnan(limited) ? 0 : static_cast<std::int8_t>(std::nearbyint(limited));
    }
  }
}

template <class Stored>
auto key_at(const KvBlocks<Stored>& kv, int, std::int64_t j, int d) noexcept {
  return as_number(
      kv.keys(j / kAttentionKeyBlock)[d * kAttentionKeyBlock + j % kAttentionKeyBlock]);
}
template <class Stored>
auto value_at(const KvBlocks<Stored>& kv, int head_dim, std::int64_t j, int d) noexcept {
  return as_number(
      kv.values(j / kAttentionKeyBlock, head_dim)[j % kAttentionKeyBlock * head_dim + d]);
}

inline float key_at(const KvBlocksQ8& kv, int head_dim, std::int64_t j, int d) noexcept {
  const std::int64_t block = j / kAttentionKeyBlock, at = j % kAttentionKeyBlock;
  const f16 scale = kv.key_scales(block, head_dim)[d / kKvScaleGroup * kAttentionKeyBlock + at];
  return static_cast<float>(kv.keys(block)[d * kAttentionKeyBlock + at]) * to_float(scale);
}
inline float value_at(const KvBlocksQ8& kv, int head_dim, std::int64_t j, int d) noexcept {
  const std::int64_t block = j / kAttentionKeyBlock, at = j % kAttentionKeyBlock;
  const f16 scale =
      kv.value_scales(block, head_dim)[at * kv_scale_groups(head_dim) + d / kKvScaleGroup];
  return static_cast<float>(kv.values(block, head_dim)[at * head_dim + d]) * to_float(scale);
}

template <class Real, class Blocks>
Real attention_score(const Real* q, const Blocks& kv, int head_dim, std::int64_t j,
                     Real scale) noexcept {
  Real sum = 0;
  for (int d = 0; d < head_dim; ++d) sum += q[d] * static_cast<Real>(key_at(kv, head_dim, j, d));
  return sum * scale;
}

// The first position that a query at `position` sees.
inline std::int64_t first_visible(std::int64_t position, int window) noexcept {
  return window > 0 ? std::max<std::int64_t>(0, position - window + 1) : 0;
}

template <class Real, class Blocks>
void attention_forward_over(const AttentionForwardOf<Real>& a, const Blocks& kv) noexcept {
  for (std::int64_t row = 0; row < a.n_tokens * a.n_heads; ++row) {
    const std::int64_t t = row / a.n_heads;
    const std::int64_t h = row % a.n_heads;
    const Real* q = a.q + t * a.q_stride + h * a.head_dim;
    Real* out = a.out + t * a.out_stride + h * a.head_dim;
    const std::int64_t last = a.first_position + t;
    const std::int64_t first = std::max(a.first_key, first_visible(last, a.window));
    Real top = -std::numeric_limits<Real>::infinity();
    for (std::int64_t j = first; j <= last; ++j) {
      top = std::max(top, attention_score(q, kv, a.head_dim, j, a.scale));
    }
    std::fill(out, out + a.head_dim, Real(0));
    Real sum = 0;
    for (std::int64_t j = first; j <= last; ++j) {
      const Real p = std::exp(attention_score(q, kv, a.head_dim, j, a.scale) - top);
      sum += p;
      for (int d = 0; d < a.head_dim; ++d) {
        out[d] += p * static_cast<Real>(value_at(kv, a.head_dim, j, d));
      }
    }
    for (int d = 0; d < a.head_dim; ++d) out[d] /= sum;
    if (a.lse != nullptr) a.lse[t * a.lse_stride + h] = top + std::log(sum);
  }
}

template <class Real>
void attention_forward(const AttentionForwardOf<Real>& a, Real*) noexcept {
  if (a.kv_half.blocks != nullptr) return attention_forward_over(a, a.kv_half);
  if (a.kv_q8.blocks != nullptr) return attention_forward_over(a, a.kv_q8);
  attention_forward_over(a, a.kv);
}

template <class Real>
void attention_backward(const AttentionBackwardOf<Real>& a, Real*) noexcept {
  const int width = a.head_dim;
  for (std::int64_t t = 0; t < a.n_tokens; ++t) {
    std::fill(a.dk + t * a.dk_stride, a.dk + t * a.dk_stride + width, Real(0));
    std::fill(a.dv + t * a.dv_stride, a.dv + t * a.dv_stride + width, Real(0));
  }
  for (std::int64_t row = 0; row < a.n_tokens * a.n_heads; ++row) {
    const std::int64_t t = row / a.n_heads;
    const std::int64_t h = row % a.n_heads;
    const Real* q = a.q + t * a.q_stride + h * width;
    const Real* out = a.out + t * a.out_stride + h * width;
    const Real* d_out = a.d_out + t * a.d_out_stride + h * width;
    Real* dq = a.dq + t * a.dq_stride + h * width;
    std::fill(dq, dq + width, Real(0));
    Real delta = 0;
    for (int d = 0; d < width; ++d) delta += d_out[d] * out[d];
    for (std::int64_t j = first_visible(t, a.window); j <= t; ++j) {
      const Real score = attention_score(q, a.kv, width, j, a.scale);
      const Real p = std::exp(score - a.lse[t * a.lse_stride + h]);
      Real dp = 0;
      for (int d = 0; d < width; ++d) dp += d_out[d] * value_at(a.kv, width, j, d);
      const Real ds = p * (dp - delta) * a.scale;
      for (int d = 0; d < width; ++d) {
        dq[d] += ds * key_at(a.kv, width, j, d);
        a.dk[j * a.dk_stride + d] += ds * q[d];
        a.dv[j * a.dv_stride + d] += p * d_out[d];
      }
    }
  }
}

inline std::int64_t attention_no_scratch(std::int64_t, int, int) noexcept { return 0; }

}  // namespace conclave::kernels::reference
