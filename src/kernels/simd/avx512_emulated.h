// The AVX-512 instructions that kernels use, lane by lane and slowly, so that machines with AVX2
// alone can test every kernel (preset "emulated", docs/adding_a_kernel.md). Names, arguments and
// results are those of Intel's Intrinsics Guide, but for the bits of a NaN; what kernels do not ask
// for is left out or ends the program. Within this namespace the names hide those of the compiler's
// header, which cannot be called without AVX-512's flags.
#pragma once

#include <immintrin.h>

#if !defined(__OPTIMIZE__) || defined(__clang__)
#error "CONCLAVE_EMULATE_AVX512 needs GCC with optimisation: else some of these names are macros"
#endif

namespace conclave::kernels {
namespace {

namespace emulated {

using Int32 = int __attribute__((vector_size(64)));
using Uint32 = unsigned __attribute__((vector_size(64)));
using Int16 = short __attribute__((vector_size(64)));
using Uint16 = unsigned short __attribute__((vector_size(64)));
using Int8 = signed char __attribute__((vector_size(64)));
using Uint8 = unsigned char __attribute__((vector_size(64)));

template <class To, class From>
To as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof(to));
  return to;
}

// The vector whose lane i is of(i).
template <class Vec, int kLanes, class Lane>
Vec lanes(const Lane& of) {
  Vec v;
  for (int i = 0; i < kLanes; ++i) v[i] = of(i);
  return v;
}
template <class Lane>
__m512 floats(const Lane& of) {
  return lanes<__m512, 16>(of);
}
template <class Lane>
__m512i ints(const Lane& of) {
  return as<__m512i>(lanes<Int32, 16>(of));
}

inline bool has(__mmask16 mask, int i) { return (mask >> i & 1) != 0; }

inline bool subnormal(float x) { return (as<unsigned>(x) & 0x7f800000u) == 0; }
inline float flushed(float x) { return subnormal(x) ? __builtin_copysignf(0, x) : x; }

// Rounded to the nearest even, subnormal numbers to 0.
inline unsigned short to_bf16(float x) {
  const auto bits = as<unsigned>(flushed(x));
  if (x != x) return static_cast<unsigned short>(bits >> 16 | 0x40);
  return static_cast<unsigned short>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
inline float from_bf16(unsigned short x) {
  return flushed(as<float>(static_cast<unsigned>(x) << 16));
}

}  // namespace emulated

// Constants, memory.

inline __m512 _mm512_set1_ps(float x) {
  return emulated::floats([&](int) { return x; });
}
inline __m512i _mm512_set1_epi32(int x) {
  return emulated::ints([&](int) { return x; });
}
inline __m512i _mm512_set1_epi8(char x) {
  return emulated::as<__m512i>(
      emulated::lanes<emulated::Int8, 64>([&](int) { return static_cast<signed char>(x); }));
}
template <class... Words>  // from the last to the first
__m512i _mm512_set_epi16(Words... words) {
  static_assert(sizeof...(words) == 32);
  const short of[] = {static_cast<short>(words)...};
  return emulated::as<__m512i>(
      emulated::lanes<emulated::Int16, 32>([&](int i) { return of[31 - i]; }));
}
inline __m512 _mm512_setzero_ps() { return __m512{}; }
inline __m512d _mm512_setzero_pd() { return __m512d{}; }
inline __m512i _mm512_setzero_si512() { return __m512i{}; }
inline __m512i _mm512_broadcast_i32x4(__m128i v) {
  int of[4];
  __builtin_memcpy(of, &v, sizeof(of));
  return emulated::ints([&](int i) { return of[i % 4]; });
}

inline __m512 _mm512_loadu_ps(const void* p) {
  __m512 v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
inline __m512i _mm512_loadu_si512(const void* p) {
  return emulated::as<__m512i>(_mm512_loadu_ps(p));
}
inline void _mm512_storeu_ps(void* p, __m512 v) { __builtin_memcpy(p, &v, sizeof(v)); }
inline void _mm512_storeu_si512(void* p, __m512i v) { __builtin_memcpy(p, &v, sizeof(v)); }
// As the instructions, these end the program where an address is not a multiple of 64.
inline __m512 _mm512_load_ps(const void* p) {
  if (reinterpret_cast<unsigned long>(p) % 64 != 0) __builtin_trap();
  return _mm512_loadu_ps(p);
}
inline void _mm512_store_ps(void* p, __m512 v) {
  if (reinterpret_cast<unsigned long>(p) % 64 != 0) __builtin_trap();
  _mm512_storeu_ps(p, v);
}
// Lanes that the mask leaves out are not touched in memory.
inline __m512 _mm512_maskz_loadu_ps(__mmask16 mask, const void* p) {
  const auto* const from = static_cast<const float*>(p);
  return emulated::floats([&](int i) { return emulated::has(mask, i) ? from[i] : 0; });
}
inline __m256i _mm256_maskz_loadu_epi16(__mmask16 mask, const void* p) {
  using Words = short __attribute__((vector_size(32)));
  return emulated::as<__m256i>(emulated::lanes<Words, 16>([&](int i) {
    short word = 0;
    if (emulated::has(mask, i)) {
      __builtin_memcpy(&word, static_cast<const char*>(p) + 2 * i, sizeof(word));
    }
    return word;
  }));
}
inline void _mm512_mask_storeu_ps(void* p, __mmask16 mask, __m512 v) {
  auto* const to = static_cast<float*>(p);
  for (int i = 0; i < 16; ++i) {
    if (emulated::has(mask, i)) to[i] = v[i];
  }
}

// Floats.

inline __m512 _mm512_add_ps(__m512 a, __m512 b) { return a + b; }
inline __m512d _mm512_add_pd(__m512d a, __m512d b) { return a + b; }
inline __m512 _mm512_mul_ps(__m512 a, __m512 b) { return a * b; }
inline __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c) {
  return emulated::floats([&](int i) { return __builtin_fmaf(a[i], b[i], c[i]); });
}
inline __m512 _mm512_fnmadd_ps(__m512 a, __m512 b, __m512 c) {
  return emulated::floats([&](int i) { return __builtin_fmaf(-a[i], b[i], c[i]); });
}
// The second where either is no number.
inline __m512 _mm512_max_ps(__m512 a, __m512 b) {
  return emulated::floats([&](int i) { return a[i] > b[i] ? a[i] : b[i]; });
}
inline __m512 _mm512_min_ps(__m512 a, __m512 b) {
  return emulated::floats([&](int i) { return a[i] < b[i] ? a[i] : b[i]; });
}
inline __m512 _mm512_sqrt_ps(__m512 v) {
  return emulated::floats([&](int i) { return __builtin_sqrtf(v[i]); });
}
inline __m512 _mm512_roundscale_ps(__m512 v, int how) {
  if (how != (_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)) __builtin_trap();
  return emulated::floats([&](int i) { return __builtin_rintf(v[i]); });
}
// v times 2 to the power of floor(n).
inline __m512 _mm512_scalef_ps(__m512 v, __m512 n) {
  return emulated::floats([&](int i) {
    if (n[i] != n[i]) return n[i];
    if (__builtin_isinf(n[i])) __builtin_trap();
    const float power = __builtin_floorf(n[i]);
    return __builtin_ldexpf(v[i], power < -1000  ? -1000
                                  : power > 1000 ? 1000
                                                 : static_cast<int>(power));
  });
}

// Integers and bits.

inline __m512i _mm512_add_epi32(__m512i a, __m512i b) {
  return emulated::as<__m512i>(emulated::as<emulated::Uint32>(a) +
                               emulated::as<emulated::Uint32>(b));
}
inline __m512i _mm512_sub_epi32(__m512i a, __m512i b) {
  return emulated::as<__m512i>(emulated::as<emulated::Uint32>(a) -
                               emulated::as<emulated::Uint32>(b));
}
inline __m512i _mm512_max_epi32(__m512i a, __m512i b) {
  const auto x = emulated::as<emulated::Int32>(a), y = emulated::as<emulated::Int32>(b);
  return emulated::ints([&](int i) { return x[i] > y[i] ? x[i] : y[i]; });
}
inline __m512i _mm512_and_si512(__m512i a, __m512i b) { return a & b; }
inline __m512i _mm512_or_si512(__m512i a, __m512i b) { return a | b; }
inline __m512i _mm512_xor_si512(__m512i a, __m512i b) { return a ^ b; }
inline __m512i _mm512_ternarylogic_epi32(__m512i a, __m512i b, __m512i c, int table) {
  if (table != 0xf8) __builtin_trap();
  return a | (b & c);
}
// Counts below the width of a lane.
inline __m512i _mm512_slli_epi16(__m512i v, unsigned n) {
  return emulated::as<__m512i>(emulated::as<emulated::Uint16>(v) << static_cast<unsigned short>(n));
}
inline __m512i _mm512_srli_epi16(__m512i v, unsigned n) {
  return emulated::as<__m512i>(emulated::as<emulated::Uint16>(v) >> static_cast<unsigned short>(n));
}
inline __m512i _mm512_slli_epi32(__m512i v, unsigned n) {
  return emulated::as<__m512i>(emulated::as<emulated::Uint32>(v) << n);
}
inline __m512i _mm512_srli_epi32(__m512i v, unsigned n) {
  return emulated::as<__m512i>(emulated::as<emulated::Uint32>(v) >> n);
}
inline __m512i _mm512_sllv_epi32(__m512i v, __m512i n) {
  const auto x = emulated::as<emulated::Uint32>(v), by = emulated::as<emulated::Uint32>(n);
  return emulated::ints([&](int i) { return by[i] < 32 ? static_cast<int>(x[i] << by[i]) : 0; });
}
// Unsigned bytes of u times signed bytes of s, four to a sum.
inline __m512i _mm512_dpbusd_epi32(__m512i sum, __m512i u, __m512i s) {
  const auto a = emulated::as<emulated::Uint8>(u);
  const auto b = emulated::as<emulated::Int8>(s);
  return _mm512_add_epi32(sum, emulated::ints([&](int i) {
                            int of_four = 0;
                            for (int j = 4 * i; j < 4 * i + 4; ++j) of_four += a[j] * b[j];
                            return of_four;
                          }));
}
inline __m512i _mm512_dpwssd_epi32(__m512i sum, __m512i x, __m512i y) {
  const auto a = emulated::as<emulated::Int16>(x), b = emulated::as<emulated::Int16>(y);
  return _mm512_add_epi32(sum, emulated::ints([&](int i) {
                            const auto one = static_cast<unsigned>(a[2 * i] * b[2 * i]);
                            const auto two = static_cast<unsigned>(a[2 * i + 1] * b[2 * i + 1]);
                            return static_cast<int>(one + two);
                          }));
}
inline int _mm512_reduce_add_epi32(__m512i v) {
  const auto x = emulated::as<emulated::Uint32>(v);
  unsigned sum = 0;
  for (int i = 0; i < 16; ++i) sum += x[i];
  return static_cast<int>(sum);
}
inline int _mm512_reduce_max_epi32(__m512i v) {
  const auto x = emulated::as<emulated::Int32>(v);
  int most = x[0];
  for (int i = 1; i < 16; ++i) most = x[i] > most ? x[i] : most;
  return most;
}

// Conversions.

inline __m512 _mm512_castsi512_ps(__m512i v) { return emulated::as<__m512>(v); }
inline __m512i _mm512_castps_si512(__m512 v) { return emulated::as<__m512i>(v); }
inline __m256 _mm512_extractf32x8_ps(__m512 v, int half) {
  return emulated::lanes<__m256, 8>([&](int i) { return v[8 * half + i]; });
}
inline __m256d _mm512_extractf64x4_pd(__m512d v, int half) {
  return emulated::lanes<__m256d, 4>([&](int i) { return v[4 * half + i]; });
}
inline __m256 _mm512_castps512_ps256(__m512 v) { return _mm512_extractf32x8_ps(v, 0); }
inline __m256d _mm512_castpd512_pd256(__m512d v) { return _mm512_extractf64x4_pd(v, 0); }
inline float _mm512_cvtss_f32(__m512 v) { return v[0]; }
inline __m512d _mm512_cvtps_pd(__m256 v) {
  return emulated::lanes<__m512d, 8>([&](int i) { return static_cast<double>(v[i]); });
}
inline __m512 _mm512_cvtepi32_ps(__m512i v) {
  const auto x = emulated::as<emulated::Int32>(v);
  return emulated::floats([&](int i) { return static_cast<float>(x[i]); });
}
// To the nearest even; what does not fit becomes the least number.
inline __m512i _mm512_cvtps_epi32(__m512 v) {
  return emulated::ints([&](int i) { return _mm_cvtss_si32(_mm_set_ss(v[i])); });
}
inline __m512i _mm512_cvtepi8_epi32(__m128i v) {
  signed char of[16];
  __builtin_memcpy(of, &v, sizeof(of));
  return emulated::ints([&](int i) { return static_cast<int>(of[i]); });
}
inline __m512i _mm512_cvtepu8_epi32(__m128i v) {
  unsigned char of[16];
  __builtin_memcpy(of, &v, sizeof(of));
  return emulated::ints([&](int i) { return static_cast<int>(of[i]); });
}
inline __m512i _mm512_cvtepu16_epi32(__m256i v) {
  unsigned short of[16];
  __builtin_memcpy(of, &v, sizeof(of));
  return emulated::ints([&](int i) { return static_cast<int>(of[i]); });
}
inline __m256i _mm512_cvtepi32_epi16(__m512i v) {
  const auto x = emulated::as<emulated::Int32>(v);
  using Words = short __attribute__((vector_size(32)));
  return emulated::as<__m256i>(
      emulated::lanes<Words, 16>([&](int i) { return static_cast<short>(x[i]); }));
}
inline __m128i _mm512_cvtepi32_epi8(__m512i v) {
  const auto x = emulated::as<emulated::Int32>(v);
  using Bytes = signed char __attribute__((vector_size(16)));
  return emulated::as<__m128i>(
      emulated::lanes<Bytes, 16>([&](int i) { return static_cast<signed char>(x[i]); }));
}
// What does not fit becomes the nearest that does.
inline __m128i _mm512_cvtsepi32_epi8(__m512i v) {
  const auto x = emulated::as<emulated::Int32>(v);
  return _mm512_cvtepi32_epi8(emulated::ints([&](int i) {
    return x[i] < -128 ? -128 : x[i] > 127 ? 127 : x[i];
  }));
}
inline __m512 _mm512_cvtph_ps(__m256i v) {
  unsigned short of[16];
  __builtin_memcpy(of, &v, sizeof(of));
  return emulated::floats([&](int i) { return _cvtsh_ss(of[i]); });
}
inline __m256i _mm512_cvtps_ph(__m512 v, int how) {
  if ((how & ~_MM_FROUND_NO_EXC) != _MM_FROUND_TO_NEAREST_INT) __builtin_trap();
  using Words = unsigned short __attribute__((vector_size(32)));
  return emulated::as<__m256i>(emulated::lanes<Words, 16>(
      [&](int i) { return _cvtss_sh(v[i], _MM_FROUND_TO_NEAREST_INT); }));
}

// Pairs of bf16. Each product is exact in f32 but for its range; the second of a pair is added
// first. Subnormal numbers count as 0.

inline __m512bh _mm512_cvtne2ps_pbh(__m512 high, __m512 low) {
  return emulated::as<__m512bh>(emulated::lanes<emulated::Uint16, 32>(
      [&](int i) { return emulated::to_bf16(i < 16 ? low[i] : high[i - 16]); }));
}
inline __m512 _mm512_dpbf16_ps(__m512 sum, __m512bh x, __m512bh y) {
  const auto a = emulated::as<emulated::Uint16>(x), b = emulated::as<emulated::Uint16>(y);
  return emulated::floats([&](int i) {
    float s = emulated::flushed(sum[i]);
    for (int j = 2 * i + 1; j >= 2 * i; --j) {
      s = emulated::flushed(
          __builtin_fmaf(emulated::from_bf16(a[j]), emulated::from_bf16(b[j]), s));
    }
    return s;
  });
}

// Comparisons, blends, permutations.

inline __mmask16 _mm512_cmplt_epi32_mask(__m512i a, __m512i b) {
  const auto x = emulated::as<emulated::Int32>(a), y = emulated::as<emulated::Int32>(b);
  unsigned mask = 0;
  for (int i = 0; i < 16; ++i) mask |= static_cast<unsigned>(x[i] < y[i]) << i;
  return static_cast<__mmask16>(mask);
}
inline __mmask16 _mm512_cmp_ps_mask(__m512 a, __m512 b, int what) {
  if (what != _CMP_UNORD_Q) __builtin_trap();
  unsigned mask = 0;
  for (int i = 0; i < 16; ++i) {
    mask |= static_cast<unsigned>(a[i] != a[i] || b[i] != b[i]) << i;
  }
  return static_cast<__mmask16>(mask);
}
inline __m512 _mm512_mask_blend_ps(__mmask16 mask, __m512 a, __m512 b) {
  return emulated::floats([&](int i) { return emulated::has(mask, i) ? b[i] : a[i]; });
}
inline __m512i _mm512_mask_blend_epi32(__mmask16 mask, __m512i a, __m512i b) {
  const auto x = emulated::as<emulated::Int32>(a), y = emulated::as<emulated::Int32>(b);
  return emulated::ints([&](int i) { return emulated::has(mask, i) ? y[i] : x[i]; });
}
inline __m512i _mm512_mask_or_epi32(__m512i other, __mmask16 mask, __m512i a, __m512i b) {
  return _mm512_mask_blend_epi32(mask, other, a | b);
}
inline __m512i _mm512_shuffle_epi8(__m512i v, __m512i from) {  // within each 16 bytes
  const auto x = emulated::as<emulated::Uint8>(v), at = emulated::as<emulated::Uint8>(from);
  return emulated::as<__m512i>(emulated::lanes<emulated::Uint8, 64>([&](int i) {
    return at[i] >= 128 ? static_cast<unsigned char>(0) : x[i / 16 * 16 + at[i] % 16];
  }));
}
inline __m512i _mm512_permutexvar_epi16(__m512i from, __m512i v) {
  const auto x = emulated::as<emulated::Uint16>(v), at = emulated::as<emulated::Uint16>(from);
  return emulated::as<__m512i>(
      emulated::lanes<emulated::Uint16, 32>([&](int i) { return x[at[i] % 32]; }));
}
inline __m512 _mm512_unpacklo_ps(__m512 a, __m512 b) {
  return emulated::floats([&](int i) { return (i % 2 == 0 ? a : b)[i / 4 * 4 + i % 4 / 2]; });
}
inline __m512 _mm512_unpackhi_ps(__m512 a, __m512 b) {
  return emulated::floats([&](int i) { return (i % 2 == 0 ? a : b)[i / 4 * 4 + 2 + i % 4 / 2]; });
}
// Of each four lanes (or each four quarters) two come from a and two from b.
inline __m512 _mm512_shuffle_ps(__m512 a, __m512 b, int from) {
  return emulated::floats(
      [&](int i) { return (i % 4 < 2 ? a : b)[i / 4 * 4 + (from >> (2 * (i % 4)) & 3)]; });
}
inline __m512 _mm512_shuffle_f32x4(__m512 a, __m512 b, int from) {
  return emulated::floats(
      [&](int i) { return (i < 8 ? a : b)[(from >> (2 * (i / 4)) & 3) * 4 + i % 4]; });
}

}  // namespace
}  // namespace conclave::kernels
