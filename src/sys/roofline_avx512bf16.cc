// GCC 12 takes the header's "undefined" vectors for a mistake.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include "sys/roofline_loops.h"

namespace conclave::sys {
namespace {

// vdpbf16ps has a latency of 6 and more: 16 chains.
constexpr int kChains = 16;

float bf16(std::int64_t rounds) noexcept {
  __m512 sum[kChains];
  const auto x = reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x3f003f00));  // 0.5, 0.5
#pragma GCC unroll 16
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_set1_ps(static_cast<float>(i));
  for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) {
      sum[i] = _mm512_dpbf16_ps(sum[i], x, x);
      __asm__("" : "+v"(sum[i]));
    }
  }
#pragma GCC unroll 16
  for (int i = 1; i < kChains; ++i) sum[0] = _mm512_add_ps(sum[0], sum[i]);
  return _mm512_cvtss_f32(sum[0]);
}

}  // namespace

// The other figures are those of AVX-512.
const RooflineLoops kRooflineAvx512Bf16 = {Isa::kAvx512Bf16, nullptr, bf16,    0,
                                           kChains * 32 * 2, nullptr, nullptr, 0};

}  // namespace conclave::sys
