// GCC 12 takes the header's "undefined" vectors for a mistake.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include "sys/roofline_loops.h"

namespace conclave::sys {
namespace {

constexpr int kChains = 16;

float f32(std::int64_t rounds) noexcept {
  __m512 sum[kChains];
  const __m512 x = _mm512_set1_ps(0.5f);
#pragma GCC unroll 16
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_set1_ps(static_cast<float>(i));
  for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) {
      sum[i] = _mm512_fmadd_ps(sum[i], x, x);
      __asm__("" : "+v"(sum[i]));
    }
  }
#pragma GCC unroll 16
  for (int i = 1; i < kChains; ++i) sum[0] = _mm512_add_ps(sum[0], sum[i]);
  return _mm512_cvtss_f32(sum[0]);
}

std::uint64_t read(const std::byte* data, std::size_t bytes) noexcept {
  __m512i sum[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) sum[i] = _mm512_setzero_si512();
  const std::size_t half = bytes / 2;
  for (std::size_t at = 0; at < half; at += 256) {
    const auto* p = reinterpret_cast<const __m512i*>(data + at);
    const auto* q = reinterpret_cast<const __m512i*>(data + half + at);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      sum[i] = _mm512_add_epi64(sum[i], _mm512_load_si512(p + i));
      sum[i + 4] = _mm512_add_epi64(sum[i + 4], _mm512_load_si512(q + i));
    }
  }
#pragma GCC unroll 8
  for (int i = 1; i < 8; ++i) sum[0] = _mm512_add_epi64(sum[0], sum[i]);
  return static_cast<std::uint64_t>(_mm512_reduce_or_epi64(sum[0]));  // adding would overflow
}

}  // namespace

const RooflineLoops kRooflineAvx512 = {Isa::kAvx512, f32,     nullptr, kChains * 16 * 2, 0,
                                       read,         nullptr, 0};

}  // namespace conclave::sys
