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

float int8(std::int64_t rounds) noexcept {
  __m512i sum[kChains];
  const __m512i x = _mm512_set1_epi8(1);
#pragma GCC unroll 16
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_set1_epi32(i);
  for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) {
      sum[i] = _mm512_dpbusd_epi32(sum[i], x, x);
      __asm__("" : "+v"(sum[i]));
    }
  }
#pragma GCC unroll 16
  for (int i = 1; i < kChains; ++i) sum[0] = _mm512_add_epi32(sum[0], sum[i]);
  return static_cast<float>(_mm_cvtsi128_si32(_mm512_castsi512_si128(sum[0])));
}

}  // namespace

// The other figures are those of AVX-512.
const RooflineLoops kRooflineAvx512Vnni = {Isa::kAvx512Vnni, nullptr, nullptr,         0, 0,
                                           nullptr,          int8,    kChains * 64 * 2};

}  // namespace conclave::sys
