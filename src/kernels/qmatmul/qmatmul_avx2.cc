// AVX2 without a dot product instruction: vpmaddubsw sums pairs of products in 16 bits, as many
// steps as fit are added there, and vpmaddwd sums the pairs into 32 bits. Weights of eight bits are
// widened to 16 and take vpmaddwd at once.
#include <immintrin.h>

#include <algorithm>

#include "kernels/qmatmul/qmatmul_body.h"
#include "kernels/qmatmul/qmatmul_list.h"

namespace conclave::kernels {
namespace {

struct Pair256 {
  struct I {
    __m256i a, b;
  };
  struct F {
    __m256 a, b;
  };
  // Four rows, or four groups of one, or two of two: eight registers of sums in 16 bits, two of
  // numbers, one of activations, and products. Sums in 32 bits wait in memory.
  static constexpr int kRows = 4;
  static constexpr bool kAnyByte = false;
  static constexpr bool kPairs = true;
  static constexpr int kGroups = 4;

  // Bytes above 127, a pair of whose products does not fit 16 bits, come as signed 16-bit numbers:
  // 0 and 2 of each four, and 1 and 3. Activations have 16 bits, too, in the same order.
  struct Wide {
    I even, odd;
  };
  template <int kMost>
  static constexpr bool kWide = kMost > 127;
  template <int kMost>
  using Number = std::conditional_t<kWide<kMost>, Wide, I>;
  template <int kMost>
  [[gnu::always_inline]] static Number<kMost> number(I v) {
    if constexpr (kWide<kMost>) {
      const I number = bit_xor(v, set1_8(-128));
      return {signed_right(shift_left(number, 8), 8), signed_right(number, 8)};
    } else {
      return v;
    }
  }
  // In memory: as values, GCC copies them in pieces.
  template <int kMost>
  struct alignas(32) Kept {
    std::byte bytes[kWide<kMost> ? 128 : 64];
  };
  template <int kMost>
  [[gnu::always_inline]] static void keep(const Number<kMost>& v, Kept<kMost>& to) {
    if constexpr (kWide<kMost>) {
      store(to.bytes, v.even);
      store(to.bytes + 64, v.odd);
    } else {
      store(to.bytes, v);
    }
  }
  template <int kMost>
  [[gnu::always_inline]] static Number<kMost> kept(const Kept<kMost>& from) {
    if constexpr (kWide<kMost>) {
      return {load(from.bytes), load(from.bytes + 64)};
    } else {
      return load(from.bytes);
    }
  }

  static const __m256i* at(const void* p) { return static_cast<const __m256i*>(p); }
  static I load(const void* p) {
    return {_mm256_loadu_si256(at(p)), _mm256_loadu_si256(at(p) + 1)};
  }
  // Tied to v: free to move, GCC puts all prefetches of a block before its first products.
  [[gnu::always_inline]] static void fetch_beside(I& v, const std::byte* line) {
    asm("prefetcht0 %1" : "+x"(v.a) : "m"(*line));
  }
  static void store(void* p, I v) {
    _mm256_storeu_si256(static_cast<__m256i*>(p), v.a);
    _mm256_storeu_si256(static_cast<__m256i*>(p) + 1, v.b);
  }
  static I both(__m256i v) { return {v, v}; }
  static I zero() { return both(_mm256_setzero_si256()); }
  static I set1_8(int v) { return both(_mm256_set1_epi8(static_cast<char>(v))); }
  static I set1_32(int v) { return both(_mm256_set1_epi32(v)); }
  static I bit_and(I x, I y) { return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)}; }
  static I bit_or(I x, I y) { return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
  static I bit_xor(I x, I y) { return {_mm256_xor_si256(x.a, y.a), _mm256_xor_si256(x.b, y.b)}; }
  static I add32(I x, I y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
  static I or_and(I x, I y, I z) { return bit_or(x, bit_and(y, z)); }
  [[gnu::always_inline]] static I bit_to(I v, int from, int to) {
    return from <= to ? shift_left(v, to - from) : shift_right(v, from - to);
  }
  static I shift_right(I v, int n) {
    return {_mm256_srli_epi16(v.a, n), _mm256_srli_epi16(v.b, n)};
  }
  static I shift_left(I v, int n) { return {_mm256_slli_epi16(v.a, n), _mm256_slli_epi16(v.b, n)}; }
  static I signed_right(I v, int n) {
    return {_mm256_srai_epi16(v.a, n), _mm256_srai_epi16(v.b, n)};
  }
  static I table(const std::uint8_t* levels) {
    return both(
        _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(levels))));
  }
  static I shuffle(I levels, I v) {
    return {_mm256_shuffle_epi8(levels.a, v.a), _mm256_shuffle_epi8(levels.b, v.b)};
  }
  static __m128i eight(const void* p) { return _mm_loadl_epi64(static_cast<const __m128i*>(p)); }
  static I bytes(const std::uint8_t* p) {
    return {_mm256_cvtepu8_epi32(eight(p)), _mm256_cvtepu8_epi32(eight(p + 8))};
  }
  static I add8(I x, I y) { return {_mm256_add_epi8(x.a, y.a), _mm256_add_epi8(x.b, y.b)}; }
  // first[i] and second[i] side by side in 16 bits.
  template <bool kSigned>
  [[gnu::always_inline]] static I pairs_of_bytes(const std::uint8_t* first,
                                                 const std::uint8_t* second) {
    const __m128i low = _mm_unpacklo_epi8(sixteen(first), sixteen(second));
    const __m128i high = _mm_unpackhi_epi8(sixteen(first), sixteen(second));
    if constexpr (kSigned) return {_mm256_cvtepi8_epi16(low), _mm256_cvtepi8_epi16(high)};
    return {_mm256_cvtepu8_epi16(low), _mm256_cvtepu8_epi16(high)};
  }
  static __m128i sixteen(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
  static I words(const std::byte* p) {
    return {_mm256_cvtepu16_epi32(sixteen(p)), _mm256_cvtepu16_epi32(sixteen(p + 16))};
  }
  static __m256i four(const void* p) {
    int v;
    __builtin_memcpy(&v, p, sizeof(v));
    return _mm256_set1_epi32(v);
  }
  // Two sums = start, if there is one, or sums, + products of a step. Added here: left to the
  // compiler, products wait in memory to be added at the end.
  template <bool kFirst, bool kStart>
  [[gnu::always_inline]] static void step(__m256i& sum, __m256i& sum2, __m256i w, __m256i w2,
                                          __m256i q, const std::int32_t* start) {
    const __m256i products = _mm256_maddubs_epi16(w, q), products2 = _mm256_maddubs_epi16(w2, q);
    if constexpr (kFirst && kStart) sum = sum2 = four(start);
    sum = kFirst && !kStart ? products : _mm256_add_epi16(sum, products);
    sum2 = kFirst && !kStart ? products2 : _mm256_add_epi16(sum2, products2);
    asm("" : "+x"(sum), "+x"(sum2));
  }
  template <bool kFirst>
  [[gnu::always_inline]] static void step_of_wide(I& sum, I w, __m256i q) {
    const I products = {_mm256_madd_epi16(w.a, q), _mm256_madd_epi16(w.b, q)};
    sum = kFirst ? products : add32(sum, products);
    asm("" : "+x"(sum.a), "+x"(sum.b));
  }
  static I set1_16(int v) { return both(_mm256_set1_epi16(static_cast<short>(v))); }
  // Sums of pairs, times a factor.
  [[gnu::always_inline]] static I pairs(I sum, I factor) {
    return {_mm256_madd_epi16(sum.a, factor.a), _mm256_madd_epi16(sum.b, factor.b)};
  }
  // Steps of numbers up to `most` away from 0 whose sums fit 16 bits. With a start, sums on the way
  // fit, too: what is left of the start is no larger than the products that it waits for may be.
  static constexpr int fitting(int most) { return 32767 / (2 * 127 * most); }
  template <class T, int kParts, int G, int R, class Numbers, class Factor, class Start, class Done>
  [[gnu::always_inline]] static void dots(const Numbers& w, const std::byte* x, Index stride,
                                          const Factor& factor, const Start& start,
                                          const Done& done) {
    if constexpr (kWide<T::kMost>) {
      static_assert(kParts == 1 && T::kOffset == 128);
      I sum[G][R];
      repeat<8>([&]<int j>() __attribute__((always_inline)) {
        repeat<G>([&]<int g>() __attribute__((always_inline)) {
          const Wide numbers = w.template operator()<g, j>();
          repeat<R>([&]<int i>() __attribute__((always_inline)) {
            const std::byte* q = x + g * stride + 64 * i + 8 * j;
            step_of_wide<j == 0>(sum[g][i], numbers.even, four(q));
            step_of_wide<false>(sum[g][i], numbers.odd, four(q + 4));
          });
        });
      });
      repeat<G>([&]<int g>() __attribute__((always_inline)) {
        repeat<R>([&]<int i>() __attribute__((always_inline)) {
          done.template operator()<g, i, 0>(sum[g][i]);
        });
      });
    } else {
      constexpr bool kStart = T::kOffset != 0;
      constexpr int kLargest = std::max(T::kOffset, T::kMost - T::kOffset);
      constexpr int kSteps = 8 / kParts, kFit = fitting(kLargest);
      static_assert(!kStart || kFit >= kSteps);
      I sum[G][R], total[G][R];
      repeat<8>([&]<int j>() __attribute__((always_inline)) {
        constexpr int p = j / kSteps, step_of_part = j % kSteps;
        repeat<G>([&]<int g>() __attribute__((always_inline)) {
          const auto numbers = w.template operator()<g, j>();
          repeat<R>([&]<int i>() __attribute__((always_inline)) {
            const __m256i q = four(x + g * stride + 32 * i + 4 * j);
            step<step_of_part % kFit == 0, kStart>(sum[g][i].a, sum[g][i].b, numbers.a, numbers.b,
                                                   q, start.template operator()<g, i, p>());
            if constexpr (step_of_part % kFit == kFit - 1 && step_of_part < kSteps - 1) {
              const I some = pairs(sum[g][i], factor.template operator()<g, p>());
              total[g][i] = step_of_part < kFit ? some : add32(total[g][i], some);
            }
          });
        });
        if constexpr (step_of_part == kSteps - 1) {
          repeat<G>([&]<int g>() __attribute__((always_inline)) {
            repeat<R>([&]<int i>() __attribute__((always_inline)) {
              I all = pairs(sum[g][i], factor.template operator()<g, p>());
              if constexpr (kFit < kSteps) all = add32(all, total[g][i]);
              done.template operator()<g, i, p>(all);
            });
          });
        }
      });
    }
  }
  static I dot16(I sum, I w, const std::int16_t* x) {
    const __m256i q = four(x);
    return {_mm256_add_epi32(sum.a, _mm256_madd_epi16(w.a, q)),
            _mm256_add_epi32(sum.b, _mm256_madd_epi16(w.b, q))};
  }
  static F to_float(I v) { return {_mm256_cvtepi32_ps(v.a), _mm256_cvtepi32_ps(v.b)}; }
  static F mul(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
  static F fma(F x, F y, F z) {
    return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
  }
  static F fnma(F x, F y, F z) {
    return {_mm256_fnmadd_ps(x.a, y.a, z.a), _mm256_fnmadd_ps(x.b, y.b, z.b)};
  }
  static F halves(const std::byte* p) {
    return {_mm256_cvtph_ps(sixteen(p)), _mm256_cvtph_ps(sixteen(p + 16))};
  }
  // 2^(e - 128): bits (e - 1) << 23, and subnormal below e = 2.
  static __m256 half_e8m0(__m256i e) {
    const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    const __m256i subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    return _mm256_castsi256_ps(
        _mm256_blendv_epi8(normal, subnormal, _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e)));
  }
  static F half_e8m0(const std::byte* p) {
    const I e = bytes(reinterpret_cast<const std::uint8_t*>(p));
    return {half_e8m0(e.a), half_e8m0(e.b)};
  }
  static F zerof() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static F set1f(float v) { return {_mm256_set1_ps(v), _mm256_set1_ps(v)}; }
  static F loadf(const float* p) { return {_mm256_load_ps(p), _mm256_load_ps(p + 8)}; }
  static void storef(float* p, F v) {
    _mm256_store_ps(p, v.a);
    _mm256_store_ps(p + 8, v.b);
  }
  static F loadu(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static I magnitude_bits(F v) {
    return bit_and({_mm256_castps_si256(v.a), _mm256_castps_si256(v.b)}, set1_32(0x7fffffff));
  }
  static I max32(I x, I y) { return {_mm256_max_epi32(x.a, y.a), _mm256_max_epi32(x.b, y.b)}; }
  static std::int32_t largest(I v) {
    const __m256i eights = _mm256_max_epi32(v.a, v.b);
    __m128i fours =
        _mm_max_epi32(_mm256_castsi256_si128(eights), _mm256_extracti128_si256(eights, 1));
    fours = _mm_max_epi32(fours, _mm_shuffle_epi32(fours, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(fours, _mm_shuffle_epi32(fours, 0xb1)));
  }
  // Of 16 numbers.
  static QuantSums16 sums(I, const std::int8_t* q) {
    const __m128i pairs = _mm_maddubs_epi16(_mm_set1_epi8(1), sixteen(q));
    const __m128i fours = _mm_add_epi16(pairs, _mm_shuffle_epi32(pairs, 0x4e));
    const auto both = static_cast<std::uint32_t>(
        _mm_cvtsi128_si32(_mm_add_epi16(fours, _mm_shuffle_epi32(fours, 0xb1))));
    return {static_cast<std::int16_t>(both), static_cast<std::int16_t>(both >> 16)};
  }
  static I round(F v) { return {_mm256_cvtps_epi32(v.a), _mm256_cvtps_epi32(v.b)}; }
  static void put_wide(const std::int8_t* q, std::byte* to) {
    const auto wide = [](const std::int8_t* p) {
      const __m256i v = _mm256_cvtepi8_epi16(sixteen(p));
      return _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(v, 0xd8), 0xd8);  // 0 2 1 3
    };
    store(to, {wide(q), wide(q + 16)});
  }
  static void store_bytes(std::int8_t* p, I v) {
    const __m256i halves = _mm256_packs_epi32(v.a, v.b);  // lanes 0-3 8-11 | 4-7 12-15
    const __m256i order = _mm256_permute4x64_epi64(halves, 0xd8);
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(p),
        _mm_packs_epi16(_mm256_castsi256_si128(order), _mm256_extracti128_si256(order, 1)));
  }

  static void put(float* y, F v, Index n) {
    if (n >= 16) {
      _mm256_storeu_ps(y, v.a);
      _mm256_storeu_ps(y + 8, v.b);
      return;
    }
    alignas(32) float all[16];
    storef(all, v);
    for (Index i = 0; i < n; ++i) y[i] = all[i];
  }
  static void add(float* y, F v, Index n) {
    alignas(32) float all[16];
    storef(all, v);
    for (Index i = 0; i < (n < 16 ? n : 16); ++i) y[i] += all[i];
  }
};

}  // namespace

constinit const QuantKernels kQuantAvx2 = {sys::Isa::kAvx2, 64, Pair256::kPairs,
                                           quantize_left<Pair256>, product<Pair256>};

}  // namespace conclave::kernels
