#include <immintrin.h>

#include "sys/roofline_loops.h"

namespace conclave::sys {
namespace {

// 12 chains: 2 multiply-adds a cycle of latency up to 5 need 10.
constexpr int kChains = 12;

float f32(std::int64_t rounds) noexcept {
  __m256 sum[kChains];
  const __m256 x = _mm256_set1_ps(0.5f);
#pragma GCC unroll 16
  for (int i = 0; i < kChains; ++i) sum[i] = _mm256_set1_ps(static_cast<float>(i));
  for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) {
      sum[i] = _mm256_fmadd_ps(sum[i], x, x);
      __asm__("" : "+x"(sum[i]));
    }
  }
#pragma GCC unroll 16
  for (int i = 1; i < kChains; ++i) sum[0] = _mm256_add_ps(sum[0], sum[i]);
  return _mm256_cvtss_f32(sum[0]);
}

std::uint64_t read(const std::byte* data, std::size_t bytes) noexcept {
  __m256i sum[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) sum[i] = _mm256_setzero_si256();
  const std::size_t half = bytes / 2;
  for (std::size_t at = 0; at < half; at += 128) {
    const auto* p = reinterpret_cast<const __m256i*>(data + at);
    const auto* q = reinterpret_cast<const __m256i*>(data + half + at);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      sum[i] = _mm256_add_epi64(sum[i], _mm256_load_si256(p + i));
      sum[i + 4] = _mm256_add_epi64(sum[i + 4], _mm256_load_si256(q + i));
    }
  }
#pragma GCC unroll 8
  for (int i = 1; i < 8; ++i) sum[0] = _mm256_add_epi64(sum[0], sum[i]);
  return static_cast<std::uint64_t>(_mm256_extract_epi64(sum[0], 0)) +
         static_cast<std::uint64_t>(_mm256_extract_epi64(sum[0], 3));
}

// Sums of pairs of products in 16 bits: two instructions for 32 products. That is what weights of
// four bits and fewer reach between the few sums into 32 bits; eight bits take twice as many.
float int8(std::int64_t rounds) noexcept {
  constexpr int kSums = 8;
  __m256i sum[kSums];
  __m256i x = _mm256_set1_epi8(1);
#pragma GCC unroll 8
  for (int i = 0; i < kSums; ++i) sum[i] = _mm256_set1_epi16(static_cast<short>(i));
  for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 8
    for (int i = 0; i < kSums; ++i) {
      __asm__("" : "+x"(x));
      sum[i] = _mm256_add_epi16(sum[i], _mm256_maddubs_epi16(x, x));
      __asm__("" : "+x"(sum[i]));
    }
  }
#pragma GCC unroll 8
  for (int i = 1; i < kSums; ++i) sum[0] = _mm256_add_epi16(sum[0], sum[i]);
  return static_cast<float>(_mm256_extract_epi32(sum[0], 0));
}

}  // namespace

const RooflineLoops kRooflineAvx2 = {Isa::kAvx2, f32,  nullptr, kChains * 8 * 2,
                                     0,          read, int8,    8 * 32 * 2};

}  // namespace conclave::sys
