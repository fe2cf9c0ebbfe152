// How each quantised type is taken apart, once over a vector type V (see qmatmul_body.h): eight
// vectors of unsigned bytes for 32 numbers, and the scales of 16 rows. Blocks are those of
// qmatmul_layout.h: factors, planes, words; kFactors, kPlanes and kWords are their bytes. kMost is
// the largest of the unsigned numbers, which are kOffset above what they stand for. In products of
// pairs, up to kStepRows rows ask for memory step by step, and of super-blocks they take numbers
// from words where more rows take numbers put aside: as many as were faster so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace conclave::kernels {
namespace {

using Index = std::int64_t;

// Levels of IQ4 types + 128 and of doubled E2M1 + 16 (tensor/quant_blocks.h).
constexpr std::uint8_t kNonlinear4Levels[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                                129, 141, 153, 166, 181, 197, 217, 241};
constexpr std::uint8_t kE2M1Levels[16] = {16, 17, 18, 19, 20, 22, 24, 28,
                                          16, 15, 14, 13, 12, 10, 8,  4};

// body.template operator()<0>(), ..., <N - 1>(). Vectors in arrays become registers only where
// every index is a constant from the start, which unrolling a loop is too late for; so bodies are
// always inlined, too.
template <int N, class Body>
[[gnu::always_inline]] inline void repeat(const Body& body) {
  [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
    (body.template operator()<I>(), ...);
  }
  (std::make_integer_sequence<int, N>());
}

// Numbers of four bits: the low halves of four words are numbers 0..15, the high ones 16..31.
template <class V>
[[gnu::always_inline]] inline typename V::I nibbles(const std::byte* words, int j) {
  const auto v = V::load(words + 64 * (j % 4));
  return V::bit_and(j < 4 ? v : V::shift_right(v, 4), V::set1_8(0x0f));
}

// The fifth bit, bit j of each byte of a word for number 4 j + byte.
template <class V>
[[gnu::always_inline]] inline typename V::I fifth_bits(const std::byte* word, int j) {
  return V::bit_and(V::bit_to(V::load(word), j, 4), V::set1_8(0x10));
}

// Types of 32: number(words, 0, j) -> numbers 4 j .. 4 j + 3, unsigned; factors -> scale and, with
// kMin, minimum.
template <class V>
struct TakeQ4_0 {
  static constexpr int kStepRows = 1;
  static constexpr int kFactors = 32, kWords = 256;
  static constexpr int kGroups = 1;
  static constexpr bool kMin = false;
  static constexpr int kMost = 15, kOffset = 8;
  [[gnu::always_inline]] static typename V::I number(const std::byte* words, int, int j) {
    return nibbles<V>(words, j);
  }
  static typename V::F scale(const std::byte* factors) { return V::halves(factors); }
};
template <class V>
struct TakeQ4_1 : TakeQ4_0<V> {
  static constexpr int kFactors = 64, kOffset = 0;
  static constexpr bool kMin = true;
  static typename V::F min(const std::byte* factors) { return V::halves(factors + 32); }
};
template <class V>
struct TakeQ5_0 : TakeQ4_0<V> {
  static constexpr int kWords = 320, kMost = 31, kOffset = 16;
  [[gnu::always_inline]] static typename V::I number(const std::byte* words, int, int j) {
    return V::bit_or(nibbles<V>(words + 64, j), fifth_bits<V>(words, j));
  }
};
template <class V>
struct TakeQ5_1 : TakeQ4_1<V> {
  static constexpr int kWords = 320, kMost = 31;
  [[gnu::always_inline]] static typename V::I number(const std::byte* words, int, int j) {
    return TakeQ5_0<V>::number(words, 0, j);
  }
};
template <class V>
struct TakeQ8_0 : TakeQ4_0<V> {
  static constexpr int kWords = 512, kMost = 255, kOffset = 128;
  [[gnu::always_inline]] static typename V::I number(const std::byte* words, int, int j) {
    return V::bit_xor(V::load(words + 64 * j), V::set1_8(-128));  // signed q to unsigned q + 128
  }
};
template <class V>
struct TakeIQ4_NL : TakeQ4_0<V> {
  static constexpr int kMost = 241, kOffset = 128;
  [[gnu::always_inline]] static typename V::I number(const std::byte* words, int, int j) {
    return V::shuffle(V::table(kNonlinear4Levels), nibbles<V>(words, j));
  }
};
template <class V>
struct TakeMXFP4 : TakeQ4_0<V> {
  static constexpr int kFactors = 16, kMost = 28, kOffset = 16;
  [[gnu::always_inline]] static typename V::I number(const std::byte* words, int, int j) {
    return V::shuffle(V::table(kE2M1Levels), nibbles<V>(words, j));
  }
  static typename V::F scale(const std::byte* factors) { return V::half_e8m0(factors); }
};

// Types of 256: number(words, g, j) -> numbers 4 j .. 4 j + 3 of group g of 32, unsigned; factors
// and planes -> the scales of the groups of 16 or 32, and the minimums of neighbouring groups as
// pairs of int16.
//
// kHalves: words of groups 4 .. 7 lie as those of 0 .. 3, kWords / 2 bytes on.
// kIntegers: groups are added as integers: products of pairs take the groups' scales on the way
// into 32 bits, which costs nothing, and d multiplies their sum.
template <class V>
struct Super {
  typename V::F scale[16];
  typename V::I min_pairs[8];
  typename V::F d_min;
  typename V::I scale_pairs[16];
  typename V::F d;
};

// Bytes [16 g, 16 g + 16) of `values` times d to scale[g].
template <class V, int kCount, bool kSigned = false>
inline void set_scales(Super<V>& s, typename V::F d, const std::uint8_t* values, int bias = 0) {
  repeat<kCount>([&]<int g>() __attribute__((always_inline)) {
    auto v = kSigned ? V::signed_bytes(values + 16 * g) : V::bytes(values + 16 * g);
    if (bias != 0) v = V::add32(v, V::set1_32(bias));
    s.scale[g] = V::mul(d, V::to_float(v));
  });
}
// The same, as integers where products are summed by pairs.
template <class V, int kCount, bool kSigned = false>
inline void set_integer_scales(Super<V>& s, typename V::F d, const std::uint8_t* values) {
  if constexpr (V::kPairs) {
    s.d = d;
    repeat<kCount>([&]<int g>() __attribute__((always_inline)) {
      s.scale_pairs[g] = V::template pairs_of_bytes<kSigned>(values + 16 * g, values + 16 * g);
    });
  } else {
    set_scales<V, kCount, kSigned>(s, d, values);
  }
}
template <class V, int kCount>
inline void set_min_pairs(Super<V>& s, const std::uint8_t* values) {
  repeat<kCount>([&]<int p>() __attribute__((always_inline)) {
    const std::uint8_t *first = values + 32 * p, *second = first + 16;
    if constexpr (V::kPairs) {
      s.min_pairs[p] = V::template pairs_of_bytes<false>(first, second);
    } else {
      s.min_pairs[p] = V::bit_or(V::bytes(first), V::shift_left_half(V::bytes(second)));
    }
  });
}

template <class V>
struct TakeQ4_K {
  static constexpr int kStepRows = 4;
  static constexpr bool kHalves = true;
  static constexpr int kGroups = 8;
  static constexpr int kFactors = 64, kPlanes = 192, kWords = 2048, kMost = 15, kOffset = 0;
  static constexpr bool kIntegers = V::kPairs;
  static constexpr int kParts = 1, kMinPairs = 4;
  static void scales(const std::byte* factors, Super<V>& s) {
    const std::byte* planes = factors + kFactors;
    const auto six = V::set1_8(63), low = V::set1_8(0x0f), high = V::set1_8(0x30);
    const auto a = V::load(planes), b = V::load(planes + 64), c = V::load(planes + 128);
    alignas(64) std::uint8_t scale[128], min[128];
    V::store(scale, V::bit_and(a, six));
    V::store(scale + 64, V::bit_or(V::bit_and(c, low), V::bit_and(V::shift_right(a, 2), high)));
    V::store(min, V::bit_and(b, six));
    V::store(min + 64, V::bit_or(V::bit_and(V::shift_right(c, 4), low),
                                 V::bit_and(V::shift_right(b, 2), high)));
    set_integer_scales<V, 8>(s, V::halves(factors), scale);
    set_min_pairs<V, 4>(s, min);
    s.d_min = V::halves(factors + 32);
  }
  static_assert(!(V::kAnyByte && V::kPairs));
  static void prepare(const std::byte* factors, Super<V>& s) {
    scales(factors, s);
    if constexpr (V::kAnyByte) {
      repeat<4>([&]<int i>() __attribute__((always_inline)) {
        s.scale[2 * i + 1] = V::mul(s.scale[2 * i + 1], V::set1f(0.0625f));
      });
    }
  }
  // Where the dot product takes any byte, odd groups stay in the high halves, sixteen times as
  // large (more than kMost, which only products of pairs heed), and their scale makes up for it:
  // exact, and no shift.
  [[gnu::always_inline]] static typename V::I number(const std::byte* words, int g, int j) {
    const auto nibbles = V::load(words + g / 4 * 1024 + 128 * j + g % 4 / 2 * 64);
    if constexpr (V::kAnyByte) {
      return V::bit_and(nibbles, V::set1_8(g % 2 == 0 ? 0x0f : 0xf0));
    } else {
      return V::bit_and(V::shift_right(nibbles, g % 2 * 4), V::set1_8(0x0f));
    }
  }
};
template <class V>
struct TakeQ5_K : TakeQ4_K<V> {
  static constexpr int kStepRows = 2;
  static constexpr bool kHalves = false;
  static constexpr int kWords = 2560, kMost = 31;
  static void prepare(const std::byte* factors, Super<V>& s) { TakeQ4_K<V>::scales(factors, s); }
  [[gnu::always_inline]] static typename V::I number(const std::byte* words, int g, int j) {
    const auto nibbles = V::load(g < 4 ? words + 192 * j + 64 + g / 2 * 64
                                       : words + 1536 + 128 * j + g % 4 / 2 * 64);
    const auto low = V::bit_and(V::shift_right(nibbles, g % 2 * 4), V::set1_8(0x0f));
    return V::or_and(low, V::bit_to(V::load(words + 192 * j), g, 4), V::set1_8(0x10));
  }
};

// The types below have 16 groups of 16, two in each 32 numbers.
template <class V>
struct TakeQ2_K {
  static constexpr int kStepRows = 2;
  static constexpr bool kHalves = true;
  static constexpr int kGroups = 8;
  static constexpr int kFactors = 64, kPlanes = 256, kWords = 1024, kMost = 3, kOffset = 0;
  static constexpr bool kIntegers = V::kPairs;
  static constexpr int kParts = 2, kMinPairs = 8;
  static void prepare(const std::byte* factors, Super<V>& s) {
    const auto low = V::set1_8(0x0f);
    alignas(64) std::uint8_t scale[256], min[256];
    for (int i = 0; i < 4; ++i) {
      const auto v = V::load(factors + kFactors + 64 * i);
      V::store(scale + 64 * i, V::bit_and(v, low));
      V::store(min + 64 * i, V::bit_and(V::shift_right(v, 4), low));
    }
    set_integer_scales<V, 16>(s, V::halves(factors), scale);
    set_min_pairs<V, 8>(s, min);
    s.d_min = V::halves(factors + 32);
  }
  [[gnu::always_inline]] static typename V::I number(const std::byte* words, int g, int j) {
    return V::bit_and(V::shift_right(V::load(words + g / 4 * 512 + 64 * j), g % 4 * 2),
                      V::set1_8(3));
  }
};
template <class V>
struct TakeQ3_K {
  static constexpr int kStepRows = 2;
  static constexpr bool kHalves = false;
  static constexpr int kGroups = 8;
  static constexpr int kFactors = 32, kPlanes = 192, kWords = 1536, kMost = 7, kOffset = 4;
  static constexpr bool kIntegers = V::kPairs;
  static constexpr int kParts = 2, kMinPairs = 0;
  // Scale i has four low bits in half i / 8 of byte i % 8, and two high ones, number i / 4, in
  // byte 8 + i % 4.
  static void prepare(const std::byte* factors, Super<V>& s) {
    const auto low = V::set1_8(0x0f), high = V::set1_8(0x30);
    const std::byte* planes = factors + kFactors;
    const auto a = V::load(planes), b = V::load(planes + 64), c = V::load(planes + 128);
    const auto join = [&](auto lows, auto highs) {
      return V::bit_or(V::bit_and(lows, low), V::bit_and(highs, high));
    };
    alignas(64) std::uint8_t scale[256];
    V::store(scale, join(a, V::shift_left(c, 4)));
    V::store(scale + 64, join(b, V::shift_left(c, 2)));
    V::store(scale + 128, join(V::shift_right(a, 4), c));
    V::store(scale + 192, join(V::shift_right(b, 4), V::shift_right(c, 2)));
    if constexpr (V::kPairs) {
      repeat<4>([&]<int i>() __attribute__((always_inline)) {
        V::store(scale + 64 * i, V::add8(V::load(scale + 64 * i), V::set1_8(-32)));
      });
      set_integer_scales<V, 16, true>(s, V::halves(factors), scale);
    } else {
      set_scales<V, 16>(s, V::halves(factors), scale, -32);
    }
  }
  [[gnu::always_inline]] static typename V::I number(const std::byte* words, int g, int j) {
    const auto pairs = V::load(g < 4 ? words + 128 * j + 64 : words + 1024 + 64 * j);
    const auto low = V::bit_and(V::shift_right(pairs, g % 4 * 2), V::set1_8(3));
    return V::or_and(low, V::bit_to(V::load(words + 128 * j), g, 2), V::set1_8(4));
  }
};
template <class V>
struct TakeQ6_K {
  static constexpr int kStepRows = 2;
  static constexpr bool kHalves = true;
  static constexpr int kGroups = 8;
  static constexpr int kFactors = 32, kPlanes = 256, kWords = 3072, kMost = 63, kOffset = 32;
  static constexpr bool kIntegers = V::kPairs;
  static constexpr int kParts = 2, kMinPairs = 0;
  static void prepare(const std::byte* factors, Super<V>& s) {
    set_integer_scales<V, 16, true>(s, V::halves(factors),
                                    reinterpret_cast<const std::uint8_t*>(factors + kFactors));
  }
  [[gnu::always_inline]] static typename V::I number(const std::byte* words, int g, int j) {
    const std::byte* step = words + g / 4 * 1536 + 192 * j;
    const auto nibbles = V::shift_right(V::load(step + 64 + g % 2 * 64), g % 4 / 2 * 4);
    return V::or_and(V::bit_and(nibbles, V::set1_8(0x0f)), V::bit_to(V::load(step), g % 4 * 2, 4),
                     V::set1_8(0x30));
  }
};
template <class V>
struct TakeIQ4_XS {
  static constexpr int kStepRows = 4;
  static constexpr bool kHalves = true;
  static constexpr int kGroups = 8;
  static constexpr int kFactors = 64, kPlanes = 64, kWords = 2048, kMost = 241, kOffset = 128;
  static constexpr bool kIntegers = false;
  static constexpr int kParts = 1, kMinPairs = 0;
  static void prepare(const std::byte* factors, Super<V>& s) {
    const auto* lows = reinterpret_cast<const std::uint8_t*>(factors + kFactors);
    const auto d = V::halves(factors);
    const auto highs = V::words(factors + 32);
    for (int g = 0; g < 8; ++g) {
      const auto low =
          V::bit_and(V::shift_right(V::bytes(lows + g / 2 * 16), g % 2 * 4), V::set1_32(0x0f));
      const auto high = V::bit_and(V::shift_right(highs, 2 * g), V::set1_32(3));
      const auto scale = V::add32(V::bit_or(low, V::shift_left(high, 4)), V::set1_32(-32));
      s.scale[g] = V::mul(d, V::to_float(scale));
    }
  }
  [[gnu::always_inline]] static typename V::I number(const std::byte* words, int g, int j) {
    const auto nibbles = V::load(words + g / 4 * 1024 + j % 4 * 256 + g % 4 * 64);
    return V::shuffle(V::table(kNonlinear4Levels),
                      V::bit_and(V::shift_right(nibbles, j / 4 * 4), V::set1_8(0x0f)));
  }
};

}  // namespace
}  // namespace conclave::kernels
