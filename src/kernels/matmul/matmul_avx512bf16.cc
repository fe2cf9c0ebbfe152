// AVX512_BF16: pairs of bf16 products summed into f32 by vdpbf16ps (which takes denormals as 0).
#include "kernels/matmul/vectors_avx512.h"

namespace conclave::kernels {
namespace {

struct Bf16Pairs : Vectors512 {
  static constexpr int kUnit = 2;
  using Left = std::uint32_t;
  using Right = std::uint32_t;

  template <class T>
  static Vec row_units(const T* p, Index n) {
    return reinterpret_cast<Vec>(_mm512_cvtne2ps_pbh(
        load_floats(p + (n > kLanes ? kLanes : 0), n - kLanes), load_floats(p, n)));
  }
  template <class T>
  static Vec column_units(const T* p, Index stride, Index rows, Index n) {
    const __m512i halves = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(
        load_floats(rows > 1 ? p + stride : p, rows > 1 ? n : 0), load_floats(p, n)));
    // Words 0 and 16, 1 and 17, ... of (first row, second row) become neighbours.
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, halves));
  }
  static void store_left(Left* p, Vec v) { _mm512_storeu_ps(p, v); }
  static void store_right(Right* p, Vec v) { _mm512_storeu_ps(p, v); }
  static Vec load_right(const Right* p) { return _mm512_loadu_ps(p); }
  static Vec broadcast(const Left* p) {
    return _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(*p)));
  }
  static Acc madd(Acc sum, Vec l, Vec r) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(l), reinterpret_cast<__m512bh>(r));
  }
};

}  // namespace

constinit const MatmulKernels kMatmulBf16Avx512Bf16 =
    make_matmul_kernels<Bf16Pairs>(sys::Isa::kAvx512Bf16, DType::kBF16);

}  // namespace conclave::kernels
