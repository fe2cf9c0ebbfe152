// AVX-512: f32, and bf16 and f16 by widening to f32.
#include "kernels/matmul/vectors_avx512.h"

namespace conclave::kernels {
namespace {

struct F32 : Vectors512 {
  static constexpr int kUnit = 1;
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
  static void store_left(Left* p, Vec v) { _mm512_storeu_ps(p, v); }
  static void store_right(Right* p, Vec v) { _mm512_storeu_ps(p, v); }
  static Vec load_right(const Right* p) { return _mm512_loadu_ps(p); }
  static Vec broadcast(const Left* p) { return _mm512_set1_ps(*p); }
  static Acc madd(Acc sum, Vec l, Vec r) { return _mm512_fmadd_ps(l, r, sum); }
};

// The upper halves, rounded to nearest even; a NaN keeps its upper half and is made quiet.
inline __m512i round_to_bf16(__m512 v) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i high = _mm512_srli_epi32(bits, 16);
  const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_srli_epi32(
      _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  return _mm512_mask_or_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), high,
                              _mm512_set1_epi32(0x40));
}

struct Bf16 : F32 {
  using Right = std::uint16_t;

  static void store_left(Left* p, Vec v) {
    _mm512_storeu_si512(p, _mm512_slli_epi32(round_to_bf16(v), 16));
  }
  static void store_right(Right* p, Vec v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(round_to_bf16(v)));
  }
  static Vec load_right(const Right* p) {
    return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
};

struct F16 : F32 {
  using Right = std::uint16_t;

  static void store_right(Right* p, Vec v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static Vec load_right(const Right* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
};

}  // namespace

constinit const MatmulKernels kMatmulF32Avx512 =
    make_matmul_kernels<F32>(sys::Isa::kAvx512, DType::kF32);
constinit const MatmulKernels kMatmulBf16Avx512 =
    make_matmul_kernels<Bf16>(sys::Isa::kAvx512, DType::kBF16);
constinit const MatmulKernels kMatmulF16Avx512 =
    make_matmul_kernels<F16>(sys::Isa::kAvx512, DType::kF16);

}  // namespace conclave::kernels
