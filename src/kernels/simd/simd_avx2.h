// Eight floats in one AVX register, with FMA; contract in simd.h. Only for *_avx2.cc: everything is
// local to the file that includes it, so that nothing compiled with these flags can be merged by
// the linker into code that runs on a lesser machine.
#pragma once

#include <immintrin.h>

#include "kernels/simd/simd.h"

namespace conclave::kernels {
namespace {

struct Simd256 {
  using Vec = __m256;
  using Wide = __m256d;
  static constexpr int kLanes = 8;
  static constexpr int kRegisters = 16;

  static __m256i lanes() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
  static __m256i first(Index n) {
    const int count = n >= kLanes ? kLanes : n > 0 ? static_cast<int>(n) : 0;
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes());
  }

  static Vec set(float x) { return _mm256_set1_ps(x); }
  static Vec load(const float* p) { return _mm256_loadu_ps(p); }
  static Vec load_half(const void* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  static Vec load_first(const float* p, Index n) {
    return n >= kLanes ? load(p) : _mm256_maskload_ps(p, first(n));
  }
  static void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
  static Vec load_bytes(const std::int8_t* p) {
    return _mm256_cvtepi32_ps(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  static void store_bytes(std::int8_t* p, Vec v) {
    const __m256i numbers = _mm256_cvtps_epi32(v);
    const __m128i halves =
        _mm_packs_epi32(_mm256_castsi256_si128(numbers), _mm256_extracti128_si256(numbers, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(halves, halves));
  }
  static void store_half(void* p, Vec v) {
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  // A masked store takes AMD's cores some twenty cycles.
  static void store_first(float* p, Vec v, Index n) {
    if (n >= kLanes) {
      store(p, v);
    } else {
      _mm256_maskstore_ps(p, first(n), v);
    }
  }

  static Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
  static Vec fnma(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }
  static Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
  static Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
  static Vec sqrt(Vec v) { return _mm256_sqrt_ps(v); }
  static Vec round(Vec v) {
    return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  // In two halves, each a normal number, so that results down to the smallest subnormal and up to
  // infinity are right for |n| <= 252.
  static Vec scale_by_power(Vec v, Vec n) {
    const __m256i power = _mm256_cvtps_epi32(n);
    const __m256i low = _mm256_srai_epi32(power, 1);
    return v * two_to(low) * two_to(_mm256_sub_epi32(power, low));
  }
  static Vec two_to(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
  }
  static Vec keep(Vec v, Index begin, Index end, Vec other) {
    const __m256i mask = _mm256_andnot_si256(first(begin), first(end));
    return _mm256_blendv_ps(other, v, _mm256_castsi256_ps(mask));
  }

  static float first_lane(Vec v) { return _mm256_cvtss_f32(v); }
  static float sum(Vec v) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps(x, x, 1)));
  }
  static float top(Vec v) {
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps(x, x, 1)));
  }

  static Wide wide_zero() { return _mm256_setzero_pd(); }
  static Wide widen_low(Vec v) { return _mm256_cvtps_pd(_mm256_castps256_ps128(v)); }
  static Wide widen_high(Vec v) { return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)); }
  static double wide_sum(Wide v) {
    const __m128d x = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(x, _mm_unpackhi_pd(x, x)));
  }
};

}  // namespace
}  // namespace conclave::kernels
