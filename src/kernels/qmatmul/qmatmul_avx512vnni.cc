// AVX-512 with VNNI: four int8 products a lane and instruction. vpdpbusd takes unsigned weights
// from a register and the activations broadcast from memory.

#include "kernels/qmatmul/qmatmul_body.h"
#include "kernels/qmatmul/qmatmul_list.h"
#include "kernels/simd/avx512.h"

namespace conclave::kernels {
namespace {

struct Vnni512 {
  using I = __m512i;
  using F = __m512;
  // 8 rows x 16 columns: eight chains hide the four cycles of vpdpbusd. Of 32 registers, blocks of
  // 32 take eight sums and eight vectors of numbers; super-blocks 16 sums (of two groups of 32, or
  // of two halves), eight scaled sums, and numbers one by one.
  static constexpr int kRows = 8;
  static constexpr int kSums = 16;
  static constexpr bool kAnyByte = true;
  static constexpr bool kPairs = false;

  template <int>
  static constexpr bool kWide = false;
  template <int>
  using Number = I;
  template <int>
  using Kept = I;
  template <int>
  static I number(I v) {
    return v;
  }
  [[gnu::always_inline]] static void keep(I v, I& to) { to = v; }
  [[gnu::always_inline]] static I kept(I v) { return v; }

  static I load(const void* p) { return _mm512_loadu_si512(p); }
  static void store(void* p, I v) { _mm512_storeu_si512(p, v); }
  static I zero() { return _mm512_setzero_si512(); }
  static I set1_8(int v) { return _mm512_set1_epi8(static_cast<char>(v)); }
  static I set1_32(int v) { return _mm512_set1_epi32(v); }
  static I bit_and(I a, I b) { return _mm512_and_si512(a, b); }
  static I bit_or(I a, I b) { return _mm512_or_si512(a, b); }
  static I bit_xor(I a, I b) { return _mm512_xor_si512(a, b); }
  static I add32(I a, I b) { return _mm512_add_epi32(a, b); }
  static I or_and(I a, I b, I c) { return _mm512_ternarylogic_epi32(a, b, c, 0xf8); }
  [[gnu::always_inline]] static I bit_to(I v, int from, int to) {
    return from <= to ? shift_left(v, to - from) : shift_right(v, from - to);
  }
  static I shift_right(I v, int n) { return _mm512_srli_epi16(v, static_cast<unsigned>(n)); }
  static I shift_left(I v, int n) { return _mm512_slli_epi16(v, static_cast<unsigned>(n)); }
  static I shift_left_half(I v) { return _mm512_slli_epi32(v, 16); }
  static I table(const std::uint8_t* levels) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(levels)));
  }
  static I shuffle(I levels, I v) { return _mm512_shuffle_epi8(levels, v); }
  static I bytes(const std::uint8_t* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static I signed_bytes(const std::uint8_t* p) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static I words(const std::byte* p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static I four(const void* p) {
    int v;
    __builtin_memcpy(&v, p, sizeof(v));
    return _mm512_set1_epi32(v);
  }
  static I dot(I sum, I w, const std::byte* x) {
#if defined(__clang__) || defined(__SANITIZE_ADDRESS__) || defined(CONCLAVE_EMULATE_AVX512)
    return _mm512_dpbusd_epi32(sum, w, four(x));
#else
    // GCC would load x into a register first: twice the instructions, and fewer of them in flight.
    struct [[gnu::packed, gnu::may_alias]] Four {
      std::int8_t of[4];
    };
    asm("vpdpbusd %2%{1to16%}, %1, %0"
        : "+v"(sum)
        : "v"(w), "m"(*reinterpret_cast<const Four*>(x)));
    return sum;
#endif
  }
  static I dot16(I sum, I w, const std::int16_t* x) { return _mm512_dpwssd_epi32(sum, w, four(x)); }
  static F to_float(I v) { return _mm512_cvtepi32_ps(v); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  static F halves(const std::byte* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  // 2^(e - 128): bits (e - 1) << 23, and subnormal below e = 2.
  static F half_e8m0(const std::byte* p) {
    const I e = bytes(reinterpret_cast<const std::uint8_t*>(p));
    const I normal = _mm512_slli_epi32(_mm512_sub_epi32(e, set1_32(1)), 23);
    const I subnormal = _mm512_sllv_epi32(set1_32(0x00200000), e);
    return _mm512_castsi512_ps(
        _mm512_mask_blend_epi32(_mm512_cmplt_epi32_mask(e, set1_32(2)), normal, subnormal));
  }
  static F zerof() { return _mm512_setzero_ps(); }
  static F set1f(float v) { return _mm512_set1_ps(v); }
  static F loadf(const float* p) { return _mm512_load_ps(p); }
  static void storef(float* p, F v) { _mm512_store_ps(p, v); }

  static F loadu(const float* p) { return _mm512_loadu_ps(p); }
  static I magnitude_bits(F v) { return bit_and(_mm512_castps_si512(v), set1_32(0x7fffffff)); }
  static I max32(I a, I b) { return _mm512_max_epi32(a, b); }
  static std::int32_t largest(I v) { return _mm512_reduce_max_epi32(v); }
  static QuantSums16 sums(I v, const std::int8_t*) {
    return {static_cast<std::int16_t>(_mm512_reduce_add_epi32(v)), 0};
  }
  static I round(F v) { return _mm512_cvtps_epi32(v); }
  static void store_bytes(std::int8_t* p, I v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
  }

  static __mmask16 first(Index n) {
    return n >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << n) - 1u);
  }
  static void put(float* y, F v, Index n) { _mm512_mask_storeu_ps(y, first(n), v); }
  static void add(float* y, F v, Index n) {
    put(y, _mm512_add_ps(_mm512_maskz_loadu_ps(first(n), y), v), n);
  }
};

}  // namespace

constinit const QuantKernels kQuantAvx512Vnni = {sys::Isa::kAvx512Vnni, 32, Vnni512::kPairs,
                                                 quantize_left<Vnni512>, product<Vnni512>};

}  // namespace conclave::kernels
