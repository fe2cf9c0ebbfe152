// AVX2 and FMA: f32, and bf16 and f16 by widening to f32.
#include <immintrin.h>

#include "kernels/matmul/matmul_body.h"

namespace conclave::kernels {
namespace {

inline __m256i first_lanes(Index n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n > 8 ? 8 : static_cast<int>(n)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

inline __m256 load_floats(const float* p, Index n) {
  return n >= 8 ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, first_lanes(n));
}
inline __m256 widen(__m128i halves) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}
inline __m256 load_floats(const bf16* p, Index n) {
  if (n >= 8) return widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  alignas(16) bf16 part[8] = {};
  for (Index i = 0; i < n; ++i) part[i].bits = p[i].bits;
  return widen(_mm_load_si128(reinterpret_cast<const __m128i*>(part)));
}

// 6 rows x 2 vectors: 12 sums, 2 right vectors and 1 broadcast use 15 of 16 registers.
struct F32 {
  static constexpr int kLanes = 8;
  static constexpr int kVectors = 2;
  static constexpr int kRows = 6;
  static constexpr int kRegisters = 16;
  static constexpr int kUnit = 1;
  using Vec = __m256;
  using Acc = __m256;
  using Left = float;
  using Right = float;

  template <class T>
  static Vec row_units(const T* p, Index n) {
    return load_floats(p, n);
  }
  template <class T>
  static Vec column_units(const T* p, Index, Index, Index n) {
    return load_floats(p, n);
  }
  static void transpose(Vec* v) {
    Vec t[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
      t[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
      v[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
      v[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
      v[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
      v[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      t[i] = _mm256_permute2f128_ps(v[i], v[i + 4], 0x20);
      t[i + 4] = _mm256_permute2f128_ps(v[i], v[i + 4], 0x31);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) v[i] = t[i];
  }
  static void store_left(Left* p, Vec v) { _mm256_storeu_ps(p, v); }
  static void store_right(Right* p, Vec v) { _mm256_storeu_ps(p, v); }
  static Vec load_right(const Right* p) { return _mm256_loadu_ps(p); }
  static Vec broadcast(const Left* p) { return _mm256_broadcast_ss(p); }
  static Acc zero() { return _mm256_setzero_ps(); }
  static Acc madd(Acc sum, Vec l, Vec r) { return _mm256_fmadd_ps(l, r, sum); }
  static void store(float* y, Acc sum, Index n) {
    if (n >= kLanes) {
      _mm256_storeu_ps(y, sum);
    } else {
      _mm256_maskstore_ps(y, first_lanes(n), sum);
    }
  }
  static void store_sum(float* y, Acc sum, Index n) {
    store(y, _mm256_add_ps(load_floats(y, n), sum), n);
  }
};

// The upper halves, rounded to nearest even; a NaN keeps its upper half and is made quiet.
inline __m256i round_to_bf16(__m256 v) {
  const __m256i bits = _mm256_castps_si256(v);
  const __m256i high = _mm256_srli_epi32(bits, 16);
  const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_srli_epi32(
      _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
  return _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
}

struct Bf16 : F32 {
  using Right = std::uint16_t;

  static void store_left(Left* p, Vec v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_slli_epi32(round_to_bf16(v), 16));
  }
  static void store_right(Right* p, Vec v) {
    const __m256i halves = round_to_bf16(v);
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(p),
        _mm_packus_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1)));
  }
  static Vec load_right(const Right* p) {
    return widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
};

struct F16 : F32 {
  using Right = std::uint16_t;

  static void store_right(Right* p, Vec v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static Vec load_right(const Right* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
};

}  // namespace

constinit const MatmulKernels kMatmulF32Avx2 =
    make_matmul_kernels<F32>(sys::Isa::kAvx2, DType::kF32);
constinit const MatmulKernels kMatmulBf16Avx2 =
    make_matmul_kernels<Bf16>(sys::Isa::kAvx2, DType::kBF16);
constinit const MatmulKernels kMatmulF16Avx2 =
    make_matmul_kernels<F16>(sys::Isa::kAvx2, DType::kF16);

}  // namespace conclave::kernels
