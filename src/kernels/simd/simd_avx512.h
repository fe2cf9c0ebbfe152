// Sixteen floats in one AVX-512 register; contract in simd.h. Only for *_avx512.cc: everything is
// local to the file that includes it, so that nothing compiled with these flags can be merged by
// the linker into code that runs on a lesser machine.
#pragma once

#include "kernels/simd/avx512.h"
#include "kernels/simd/simd.h"

// GCC 12 takes undefined vectors in the intrinsics used here for a mistake wherever one is inlined;
// therefore for the rest of the file.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

namespace conclave::kernels {
namespace {

struct Simd512 {
  using Vec = __m512;
  using Wide = __m512d;
  static constexpr int kLanes = 16;
  static constexpr int kRegisters = 32;

  static __mmask16 first(Index n) {
    return n >= kLanes ? static_cast<__mmask16>(0xffff)
                       : static_cast<__mmask16>((1u << (n > 0 ? n : 0)) - 1u);
  }

  static Vec set(float x) { return _mm512_set1_ps(x); }
  static Vec load(const float* p) { return _mm512_loadu_ps(p); }
  static Vec load_half(const void* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  }
  static Vec load_first(const float* p, Index n) { return _mm512_maskz_loadu_ps(first(n), p); }
  static void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
  static Vec load_bytes(const std::int8_t* p) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static void store_bytes(std::int8_t* p, Vec v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(v)));
  }
  static void store_half(void* p, Vec v) {
    _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static void store_first(float* p, Vec v, Index n) { _mm512_mask_storeu_ps(p, first(n), v); }

  static Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
  static Vec fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }
  static Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
  static Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
  static Vec sqrt(Vec v) { return _mm512_sqrt_ps(v); }
  static Vec round(Vec v) {
    return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static Vec scale_by_power(Vec v, Vec n) { return _mm512_scalef_ps(v, n); }
  static Vec keep(Vec v, Index begin, Index end, Vec other) {
    const auto mask = static_cast<__mmask16>(first(end) & ~first(begin));
    return _mm512_mask_blend_ps(mask, other, v);
  }

  static float first_lane(Vec v) { return _mm512_cvtss_f32(v); }
  static float sum(Vec v) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps(x, x, 1)));
  }
  static float top(Vec v) {
    const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps(x, x, 1)));
  }

  static Wide wide_zero() { return _mm512_setzero_pd(); }
  static Wide widen_low(Vec v) { return _mm512_cvtps_pd(_mm512_castps512_ps256(v)); }
  static Wide widen_high(Vec v) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)); }
  static double wide_sum(Wide v) {
    const __m256d half = _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1));
    const __m128d x = _mm_add_pd(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1));
    return _mm_cvtsd_f64(_mm_add_sd(x, _mm_unpackhi_pd(x, x)));
  }
};

}  // namespace
}  // namespace conclave::kernels
