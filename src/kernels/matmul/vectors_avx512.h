// 512-bit pieces shared by the AVX-512 kernels; everything is local to the including file.
#pragma once

#include "kernels/matmul/matmul_body.h"
#include "kernels/simd/avx512.h"

namespace conclave::kernels {
namespace {

inline __mmask16 first_lanes(Index n) {
  return n >= 16 ? static_cast<__mmask16>(0xffff)
                 : static_cast<__mmask16>((1u << (n > 0 ? n : 0)) - 1u);
}

inline __m512 load_floats(const float* p, Index n) {
  return n >= 16 ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(first_lanes(n), p);
}
inline __m512 widen(__m256i halves) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
inline __m512 load_floats(const bf16* p, Index n) {
  return widen(_mm256_maskz_loadu_epi16(first_lanes(n), p));
}

// 16 x 16 units of 32 bits: pairs, quads, then whole 128-bit lanes change places.
inline void transpose16(__m512* v) {
  __m512 t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    v[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
    v[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
    v[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    v[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_f32x4(v[i], v[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_f32x4(v[i], v[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_f32x4(v[i + 8], v[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_f32x4(v[i + 8], v[i + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
    v[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
    v[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
    v[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

// 14 rows x 2 vectors: 28 sums, 2 right vectors and 1 broadcast use 31 of 32 registers; 28 is far
// above the 4 to 8 independent sums that hide the latency, and each load serves 14 or 2 products.
struct Vectors512 {
  static constexpr int kLanes = 16;
  static constexpr int kVectors = 2;
  static constexpr int kRows = 14;
  static constexpr int kRegisters = 32;
  using Vec = __m512;
  using Acc = __m512;

  static Acc zero() { return _mm512_setzero_ps(); }
  static void transpose(Vec* v) { transpose16(v); }
  static void store(float* y, Acc sum, Index n) {
    if (n >= kLanes) {
      _mm512_storeu_ps(y, sum);
    } else {
      _mm512_mask_storeu_ps(y, first_lanes(n), sum);
    }
  }
  static void store_sum(float* y, Acc sum, Index n) {
    store(y, _mm512_add_ps(load_floats(y, n), sum), n);
  }
};

}  // namespace
}  // namespace conclave::kernels
