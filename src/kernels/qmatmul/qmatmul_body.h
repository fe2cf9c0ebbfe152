// The body of the quantised products, written once over a vector type V and instantiated by the
// file of each instruction set. V lives in that file's anonymous namespace, so every instantiation
// is local to it; of other headers nothing is called but members of the layouts, which the release
// build inlines (scripts/check_isa.py looks).
//
// V provides, on I (16 x int32, or 64 bytes) and F (16 x f32):
//   kRows                       rows whose dot products are in registers together
//   load, store, zero, set1_8, set1_32, bit_and, bit_or, bit_xor, add32
//   shift_right, shift_left     of 16-bit elements
//   or_and(a, b, c)             a | (b & c)
//   bit_to(v, from, to)         bit `from` of each byte to bit `to`, others undefined
//   shift_left_half             of 32-bit elements by 16
//   table, shuffle              16 bytes looked up by bytes 0..15
//   bytes, signed_bytes, words  16 x 8 or 16 bits widened to I
//   Number<most>, number<most>  64 bytes up to `most` in the form that products take, and I to it
//   Kept<most>, keep, kept      a Number that waits for its products, to and from it
//   dot16(sum, w, x)            += dot products of 2 int16 w with 2 int16 x[0..1], the same for all
//                               lanes
//   to_float, mul, fma(a, b, c), fnma, halves, half_e8m0, zerof, set1f, loadf, storef
//   put(y, v, n), add(y, v, n)  n floats of y = or += v
//   loadu, magnitude_bits (of |x|), max32, largest (of lanes), sum (of lanes)
//   round (to nearest even), store_bytes (16 x int32 to int8)
// and the products of unsigned with signed bytes in one of two ways. kPairs is false: in 32 bits,
//   dot(sum, w, x)              += dot products of 4 bytes w with x[0..3], the same for all lanes
//   kSums                       sums of a super-block that registers hold
//   kAnyByte                    w may be above 128
// kPairs is true: in sums of pairs of 16 bits, which hold only so many steps,
//   dots<most, parts, G, R>(w, x, stride, factor, start, done)
//                               for G groups of 32 and R rows, in `parts` parts of 8 / parts steps:
//                               done<g, i, p>(start<g, i, p>() + factor<g, p>(), int16, times the
//                               sum over the steps j of part p of w<g, j>() times x[g stride + 32 i
//                               + 4 j ..]); x within -127 .. 127
//   set1_16                     a factor
//   kGroups                     groups that a single row takes together
#pragma once

#include <type_traits>

#include "kernels/qmatmul/qmatmul_kernels.h"

namespace conclave::kernels {
namespace {

// Levels of IQ4 types + 128 and of doubled E2M1 + 16 (tensor/quant_blocks.h).
constexpr std::uint8_t kNonlinear4Levels[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                                129, 141, 153, 166, 181, 197, 217, 241};
constexpr std::uint8_t kE2M1Levels[16] = {16, 17, 18, 19, 20, 22, 24, 28,
                                          16, 15, 14, 13, 12, 10, 8,  4};

}  // namespace
}  // namespace conclave::kernels

#include "kernels/qmatmul/qmatmul_types.h"

namespace conclave::kernels {
namespace {

// Sums of the tile being computed, [row][16 columns].
struct alignas(64) Sums {
  float of[kQuantRows][kQuantPanel];
};

// Bytes of a block of 32 numbers of a panel's rows, and of a super-block.
template <class T>
constexpr int kBlockBytes = T::kFactors + T::kWords;
template <class T>
constexpr int kSuperBytes = T::kFactors + T::kPlanes + T::kWords;

// Asks for the kBytes that come kAhead on from `block`, into the second level cache. Where several
// rows share weights, these are read in pieces with pauses between, which processors do not fetch
// ahead of on their own; of few rows Zen 4 does. Zen 3, which the products of pairs were measured
// on, does so only where a single row takes super-blocks (docs/decisions/0008). 8 KiB of four-bit
// weights are about 1 us of work for 8 rows, some ten times the latency of memory.
constexpr int kAhead = 8192;
template <int kBytes>
[[gnu::always_inline]] inline void fetch_ahead(const std::byte* block) {
  constexpr int kSecondLevel = 2;
  repeat<(kBytes + 63) / 64>([&]<int i>() __attribute__((always_inline)) {
    __builtin_prefetch(block + kAhead + 64 * i, 0, kSecondLevel);
  });
}

// 32 numbers of rows r .. r + R - 1 of a left tile with m rows.
struct LeftBlock {
  const std::int8_t* q;       // [m][32]
  const std::int32_t* start;  // [m]
  const float* scale;         // [m]
  const float* scaled_sum;    // [m]
};

template <class V, class T>
using Number = typename V::template Number<T::kMost>;

// What dot products of a group start from: a sum of the activations times the weights' offset.
template <class V, bool kStart>
[[gnu::always_inline]] inline typename V::I start_of(const std::int32_t* start) {
  if constexpr (kStart) {
    return V::set1_32(*start);
  } else {
    return V::zero();
  }
}

template <class V, class T>
struct Numbers32 {
  typename V::template Kept<T::kMost> kept[8];
  [[gnu::always_inline]] explicit Numbers32(const std::byte* words) {
    typename V::I w[8];
    T::numbers(words, w);
    repeat<8>([&]<int j>() __attribute__((always_inline)) {
      V::keep(V::template number<T::kMost>(w[j]), kept[j]);
    });
  }
  [[gnu::always_inline]] Number<V, T> operator()(int j) const { return V::kept(kept[j]); }
};

// done<i>(dot) for rows r .. r + R - 1.
template <class V, class T, int R, class Done>
[[gnu::always_inline]] inline void dots_of_32(const Numbers32<V, T>& w, const LeftBlock& left,
                                              Index r, const Done& done) {
  if constexpr (V::kPairs) {
    V::template dots<T::kMost, 1, 1, R>(
        [&]<int, int j>() __attribute__((always_inline)) { return w(j); }, left.q + r * 32,
        0, [&]<int, int>() __attribute__((always_inline)) { return V::set1_16(1); },
        [&]<int, int i, int>()
            __attribute__((always_inline)) { return start_of<V, T::kStart>(left.start + r + i); },
        [&]<int, int i, int>(typename V::I dot)
            __attribute__((always_inline)) { done.template operator()<i>(dot); });
  } else {
    typename V::I dot[R];
    repeat<R>([&]<int i>() __attribute__((always_inline)) {
      dot[i] = start_of<V, T::kStart>(left.start + r + i);
    });
    repeat<8>([&]<int j>() __attribute__((always_inline)) {
      repeat<R>([&]<int i>() __attribute__((always_inline)) {
        dot[i] = V::dot(dot[i], w(j), left.q + (r + i) * 32 + 4 * j);
      });
    });
    repeat<R>([&]<int i>() __attribute__((always_inline)) { done.template operator()<i>(dot[i]); });
  }
}

template <class V, class T, int R>
[[gnu::always_inline]] inline void rows_of_32(const Numbers32<V, T>& w, typename V::F d,
                                              typename V::F min, const LeftBlock& left, Index r,
                                              Sums& sums) {
  dots_of_32<V, T, R>(
      w, left, r, [&]<int i>(typename V::I dot) __attribute__((always_inline)) {
        float* sum = sums.of[r + i];
        auto total =
            V::fma(V::mul(V::to_float(dot), d), V::set1f(left.scale[r + i]), V::loadf(sum));
        if constexpr (T::kMin) total = V::fma(min, V::set1f(left.scaled_sum[r + i]), total);
        V::storef(sum, total);
      });
}

// body.template operator()<R>(r) for rows 0 .. m - 1 in groups of R <= V::kRows.
template <class V, class Body>
inline void for_rows(Index m, const Body& body) {
  Index r = 0;
  for (; r + V::kRows <= m; r += V::kRows) body.template operator()<V::kRows>(r);
  const Index rest = m - r;
  if constexpr (V::kRows > 1) {
    if (rest == 1) return body.template operator()<1>(r);
  }
  if constexpr (V::kRows > 2) {
    if (rest == 2) return body.template operator()<2>(r);
    if (rest == 3) return body.template operator()<3>(r);
  }
  if constexpr (V::kRows > 4) {
    if (rest == 4) return body.template operator()<4>(r);
    if (rest == 5) return body.template operator()<5>(r);
    if (rest == 6) return body.template operator()<6>(r);
    if (rest == 7) return body.template operator()<7>(r);
  }
}

template <class V, class T>
inline void panel_of_32(const QuantTile& tile, const QuantLeftLayout& layout,
                        const std::byte* panel, Sums& sums) {
  const Index m = tile.rows, k = tile.k, blocks = k / 32;
  const auto* q = reinterpret_cast<const std::int8_t*>(tile.left);
  const auto* scale = reinterpret_cast<const float*>(tile.left + layout.scales_at(m, k));
  const std::byte* extra = tile.left + layout.sums_at(m, k);
  for (Index b = 0; b < blocks; ++b) {
    const std::byte* factors = panel + b * kBlockBytes<T>;
    fetch_ahead<kBlockBytes<T>>(factors);
    const Numbers32<V, T> w(factors + T::kFactors);
    const auto d = T::scale(factors);
    auto min = d;
    if constexpr (T::kMin) min = T::min(factors);
    const LeftBlock left = {q + b * m * 32, reinterpret_cast<const std::int32_t*>(extra) + b * m,
                            scale + b * m, reinterpret_cast<const float*>(extra) + b * m};
    for_rows<V>(m, [&]<int R>(Index r) { rows_of_32<V, T, R>(w, d, min, left, r, sums); });
  }
}

// The same for R rows, whose sums stay in registers: few rows are bound by taking weights apart.
template <class V, class T, int R>
inline void panel_of_32_few(const QuantTile& tile, const QuantLeftLayout& layout,
                            const std::byte* panel, Sums& sums) {
  const Index k = tile.k, blocks = k / 32;
  const auto* q = reinterpret_cast<const std::int8_t*>(tile.left);
  const auto* scale = reinterpret_cast<const float*>(tile.left + layout.scales_at(R, k));
  const std::byte* extra = tile.left + layout.sums_at(R, k);
  const auto* start = reinterpret_cast<const std::int32_t*>(extra);
  const auto* scaled_sum = reinterpret_cast<const float*>(extra);
  typename V::F total[R];
  repeat<R>([&]<int i>() __attribute__((always_inline)) { total[i] = V::zerof(); });
  for (Index b = 0; b < blocks; ++b) {
    const std::byte* factors = panel + b * kBlockBytes<T>;
    if constexpr (V::kPairs) fetch_ahead<kBlockBytes<T>>(factors);
    const Numbers32<V, T> w(factors + T::kFactors);
    const auto d = T::scale(factors);
    const LeftBlock left = {q + b * R * 32, start + b * R, scale + b * R, scaled_sum + b * R};
    dots_of_32<V, T, R>(
        w, left, 0, [&]<int i>(typename V::I dot) __attribute__((always_inline)) {
          total[i] = V::fma(V::mul(V::to_float(dot), d), V::set1f(left.scale[i]), total[i]);
          if constexpr (T::kMin) {
            total[i] = V::fma(T::min(factors), V::set1f(left.scaled_sum[i]), total[i]);
          }
        });
  }
  repeat<R>([&]<int i>() __attribute__((always_inline)) { V::storef(sums.of[i], total[i]); });
}

// A super-block of a left tile of m rows. Types have starts or pairs of sums.
struct SuperLeft {
  Index m;
  const std::int8_t* q;   // [8][m][32]
  const std::byte* sums;  // int32 [8][m][T::kParts], or int16 [m][T::kMinPairs][2]
  const float* scale;     // [m]
};
inline SuperLeft first_super_left(const QuantTile& tile, const QuantLeftLayout& layout) {
  return {tile.rows, reinterpret_cast<const std::int8_t*>(tile.left),
          tile.left + layout.sums_at(tile.rows, tile.k),
          reinterpret_cast<const float*>(tile.left + layout.scales_at(tile.rows, tile.k))};
}
template <class T>
inline void next(SuperLeft& left) {
  left.q += left.m * 256;
  left.sums += left.m * (T::kStart ? 8 * T::kParts * 4 : T::kMinPairs * 4);
  left.scale += left.m;
}

// Where the products of a super-block find its numbers 4 j .. 4 j + 3 of group g: they take them
// from its words, or all were taken before, in the order of memory: for products of pairs, whose
// registers hold the sums of one group of several rows.
template <class V, class T>
struct FromWords {
  const std::byte* words;
  [[gnu::always_inline]] Number<V, T> operator()(int g, int j) const {
    return V::template number<T::kMost>(T::number(words, g, j));
  }
};
template <class V, class T>
struct Taken {
  typename V::template Kept<T::kMost> numbers[8][8];
  [[gnu::always_inline]] explicit Taken(const std::byte* words) {
    repeat<2>([&]<int half>() __attribute__((always_inline)) {
      repeat<8>([&]<int j>() __attribute__((always_inline)) {
        repeat<4>([&]<int i>() __attribute__((always_inline)) {
          constexpr int g = 4 * half + i;
          V::keep(V::template number<T::kMost>(T::number(words, g, j)), numbers[g][j]);
        });
      });
    });
  }
  [[gnu::always_inline]] Number<V, T> operator()(int g, int j) const {
    return V::kept(numbers[g][j]);
  }
};

// Groups kFirst .. kFirst + kCount - 1, which share words, times rows r .. r + R - 1.
template <class V, class T, int R, int kFirst, int kCount, class Numbers>
[[gnu::always_inline]] inline void some_groups(const Numbers& numbers, const Super<V>& super,
                                               const SuperLeft& left, Index m, Index r,
                                               typename V::F* part) {
  typename V::I dot[kCount][T::kParts][R];
  repeat<kCount>([&]<int g>() __attribute__((always_inline)) {
    const auto* start =
        reinterpret_cast<const std::int32_t*>(left.sums) + ((kFirst + g) * m + r) * T::kParts;
    repeat<R>([&]<int i>() __attribute__((always_inline)) {
      repeat<T::kParts>([&]<int p>() __attribute__((always_inline)) {
        dot[g][p][i] = start_of<V, T::kStart>(start + i * T::kParts + p);
      });
    });
  });
  repeat<8>([&]<int j>() __attribute__((always_inline)) {
    repeat<kCount>([&]<int g>() __attribute__((always_inline)) {
      const std::int8_t* q = left.q + ((kFirst + g) * m + r) * 32 + 4 * j;
      const auto w = numbers(kFirst + g, j);
      repeat<R>([&]<int i>() __attribute__((always_inline)) {
        auto& sum = dot[g][j * T::kParts / 8][i];
        sum = V::dot(sum, w, q + 32 * i);
      });
    });
  });
  repeat<kCount>([&]<int g>() __attribute__((always_inline)) {
    repeat<R>([&]<int i>() __attribute__((always_inline)) {
      repeat<T::kParts>([&]<int p>() __attribute__((always_inline)) {
        const auto& scale = super.scale[T::kParts * (kFirst + g) + p];
        part[i] = V::fma(V::to_float(dot[g][p][i]), scale, part[i]);
      });
    });
  });
}

// As many groups together as there are registers for their sums: single rows need several chains
// of dot products that do not wait for each other.
template <class V, class T, int R, int kFirst = 0, class Numbers>
[[gnu::always_inline]] inline void all_groups(const Numbers& numbers, const Super<V>& super,
                                              const SuperLeft& left, Index m, Index r,
                                              typename V::F* part) {
  constexpr int kSums = R * T::kParts;
  constexpr int kCount = 4 * kSums <= V::kSums ? 4 : 2 * kSums <= V::kSums ? 2 : 1;
  some_groups<V, T, R, kFirst, kCount>(numbers, super, left, m, r, part);
  if constexpr (kFirst + kCount < 8) {
    all_groups<V, T, R, kFirst + kCount>(numbers, super, left, m, r, part);
  }
}

// Whether sums of pairs of a super-block are added as integers (Super).
template <class V, class T>
constexpr bool kIntegers = V::kPairs && !T::kStart;

// Groups first .. first + G - 1 times rows r .. r + R - 1, by sums of pairs: to part, of integers
// or floats.
template <class V, class T, int G, int R, class Numbers, class Part>
[[gnu::always_inline]] inline void groups_of_pairs(const Numbers& numbers, const Super<V>& super,
                                                   const SuperLeft& left, Index m, Index r,
                                                   int first, Part* part) {
  const Index row = first * m + r;
  const auto* starts = reinterpret_cast<const std::int32_t*>(left.sums) + row * T::kParts;
  // Several groups end their first parts before their second ones: floats are added in order.
  constexpr bool kLater = G > 1 && T::kParts > 1 && !kIntegers<V, T>;
  typename V::I later[G][T::kParts][R];
  const auto add = [&]<int g, int i, int p>(typename V::I dot) __attribute__((always_inline)) {
    if constexpr (kIntegers<V, T>) {
      part[i] = V::add32(part[i], dot);
    } else {
      part[i] = V::fma(V::to_float(dot), super.scale[T::kParts * (first + g) + p], part[i]);
    }
  };
  V::template dots<T::kMost, T::kParts, G, R>(
      [&]<int g, int j>() __attribute__((always_inline)) { return numbers(first + g, j); },
      left.q + row * 32, m * 32,
      [&]<int g, int p>() __attribute__((always_inline)) {
        if constexpr (kIntegers<V, T>) {
          return super.scale_pairs[T::kParts * (first + g) + p];
        } else {
          return V::set1_16(1);
        }
      },
      [&]<int g, int i, int p>() __attribute__((always_inline)) {
        return start_of<V, T::kStart>(starts + (g * m + i) * T::kParts + p);
      },
      [&]<int g, int i, int p>(typename V::I dot) __attribute__((always_inline)) {
        if constexpr (kLater) {
          later[g][p][i] = dot;
        } else {
          add.template operator()<g, i, p>(dot);
        }
      });
  if constexpr (kLater) {
    repeat<G>([&]<int g>() __attribute__((always_inline)) {
      repeat<T::kParts>([&]<int p>() __attribute__((always_inline)) {
        repeat<R>([&]<int i>() __attribute__((always_inline)) {
          add.template operator()<g, i, p>(later[g][p][i]);
        });
      });
    });
  }
}

// All groups by sums of pairs. The only loop, over numbers that were taken before: unrolled, the
// products of all groups would be more than a cache of instructions holds.
template <class V, class T, int R, class Numbers, class Part>
[[gnu::always_inline]] inline void all_pairs(const Numbers& numbers, const Super<V>& super,
                                             const SuperLeft& left, Index m, Index r, Part* part) {
  if constexpr (std::is_same_v<Numbers, Taken<V, T>>) {
    for (int g = 0; g < 8; ++g) groups_of_pairs<V, T, 1, R>(numbers, super, left, m, r, g, part);
  } else {
    repeat<8 / V::kGroups>([&]<int i>() __attribute__((always_inline)) {
      groups_of_pairs<V, T, V::kGroups, R>(numbers, super, left, m, r, V::kGroups * i, part);
    });
  }
}

// total[i] += rows r .. r + R - 1 of a super-block. m is left.m, a constant where rows are few.
template <class V, class T, int R, class Numbers>
[[gnu::always_inline]] inline void add_super_block(const Numbers& numbers, const Super<V>& super,
                                                   const SuperLeft& left, Index m, Index r,
                                                   typename V::F* total) {
  typename V::F part[R];
  if constexpr (kIntegers<V, T>) {
    typename V::I sum[R];
    repeat<R>([&]<int i>() __attribute__((always_inline)) { sum[i] = V::zero(); });
    all_pairs<V, T, R>(numbers, super, left, m, r, sum);
    repeat<R>([&]<int i>() __attribute__((always_inline)) {
      part[i] = V::mul(V::to_float(sum[i]), super.d);
    });
  } else {
    repeat<R>([&]<int i>() __attribute__((always_inline)) { part[i] = V::zerof(); });
    if constexpr (V::kPairs) {
      all_pairs<V, T, R>(numbers, super, left, m, r, part);
    } else {
      all_groups<V, T, R>(numbers, super, left, m, r, part);
    }
  }
  repeat<R>([&]<int i>() __attribute__((always_inline)) {
    if constexpr (T::kMinPairs > 0) {
      const auto* pairs =
          reinterpret_cast<const std::int16_t*>(left.sums) + (r + i) * 2 * T::kMinPairs;
      auto mins = V::zero();
      repeat<T::kMinPairs>([&]<int p>() __attribute__((always_inline)) {
        mins = V::dot16(mins, super.min_pairs[p], pairs + 2 * p);
      });
      part[i] = V::fnma(V::to_float(mins), super.d_min, part[i]);
    }
    total[i] = V::fma(part[i], V::set1f(left.scale[r + i]), total[i]);
  });
}

// A function of its own, lest the addresses of all its operands are computed ahead for all rows.
template <class V, class T, int R, class Numbers>
[[gnu::noinline]] void rows_of_256(const Numbers& numbers, const Super<V>& super,
                                   const SuperLeft& left, Index r, Sums& sums) {
  typename V::F total[R];
  repeat<R>([&]<int i>() __attribute__((always_inline)) { total[i] = V::loadf(sums.of[r + i]); });
  add_super_block<V, T, R>(numbers, super, left, left.m, r, total);
  repeat<R>([&]<int i>() __attribute__((always_inline)) { V::storef(sums.of[r + i], total[i]); });
}

template <class V, class T>
inline void panel_of_256(const QuantTile& tile, const QuantLeftLayout& layout,
                         const std::byte* panel, Sums& sums) {
  using Numbers = std::conditional_t<V::kPairs, Taken<V, T>, FromWords<V, T>>;
  SuperLeft left = first_super_left(tile, layout);
  for (Index b = 0; b < tile.k / 256; ++b, next<T>(left)) {
    const std::byte* factors = panel + b * kSuperBytes<T>;
    fetch_ahead<kSuperBytes<T>>(factors);
    const Numbers numbers{factors + T::kFactors + T::kPlanes};
    Super<V> super;
    T::prepare(factors, super);
    for_rows<V>(tile.rows,
                [&]<int R>(Index r) { rows_of_256<V, T, R>(numbers, super, left, r, sums); });
  }
}

// The same for R rows, whose sums stay in registers.
template <class V, class T, int R>
inline void panel_of_256_few(const QuantTile& tile, const QuantLeftLayout& layout,
                             const std::byte* panel, Sums& sums) {
  using Numbers = std::conditional_t<V::kPairs && R != 1, Taken<V, T>, FromWords<V, T>>;
  SuperLeft left = first_super_left(tile, layout);
  typename V::F total[R];
  repeat<R>([&]<int i>() __attribute__((always_inline)) { total[i] = V::zerof(); });
  for (Index b = 0; b < tile.k / 256; ++b, next<T>(left)) {
    const std::byte* factors = panel + b * kSuperBytes<T>;
    if constexpr (V::kPairs && R > 1) fetch_ahead<kSuperBytes<T>>(factors);
    Super<V> super;
    T::prepare(factors, super);
    const Numbers numbers{factors + T::kFactors + T::kPlanes};
    add_super_block<V, T, R>(numbers, super, left, R, 0, total);
  }
  repeat<R>([&]<int i>() __attribute__((always_inline)) { V::storef(sums.of[i], total[i]); });
}

template <class V, class T, bool kSuper, int R>
inline void panel_of_few(const QuantTile& tile, const QuantLeftLayout& layout,
                         const std::byte* panel, Sums& sums) {
  if constexpr (kSuper) {
    panel_of_256_few<V, T, R>(tile, layout, panel, sums);
  } else {
    panel_of_32_few<V, T, R>(tile, layout, panel, sums);
  }
}

template <class V, class T, bool kSuper>
inline void panel_product(const QuantTile& tile, const QuantLeftLayout& layout,
                          const std::byte* panel, Sums& sums) {
  switch (tile.rows) {
    case 1:
      return panel_of_few<V, T, kSuper, 1>(tile, layout, panel, sums);
    case 2:
      return panel_of_few<V, T, kSuper, 2>(tile, layout, panel, sums);
    case 3:
      return panel_of_few<V, T, kSuper, 3>(tile, layout, panel, sums);
    case 4:
      return panel_of_few<V, T, kSuper, 4>(tile, layout, panel, sums);
    default:
      break;
  }
  for (Index r = 0; r < tile.rows; ++r) V::storef(sums.of[r], V::zerof());
  if constexpr (kSuper) {
    panel_of_256<V, T>(tile, layout, panel, sums);
  } else {
    panel_of_32<V, T>(tile, layout, panel, sums);
  }
}

template <class V, class T, bool kSuper>
void product_of(const QuantTile& tile, const QuantLeftLayout& layout, Index panel_size) {
  for (Index n = 0; n < tile.n; n += kQuantPanel) {
    Sums sums;
    panel_product<V, T, kSuper>(tile, layout, tile.right + n / kQuantPanel * panel_size, sums);
    for (Index r = 0; r < tile.rows; ++r) {
      float* y = tile.y + r * tile.y_stride + n;
      if (tile.accumulate) {
        V::add(y, V::loadf(sums.of[r]), tile.n - n);
      } else {
        V::put(y, V::loadf(sums.of[r]), tile.n - n);
      }
    }
  }
}

// Scale of `count` numbers (a multiple of 32) and the integers; sums of 16 to sums[count / 16].
template <class V>
inline float quantize_group(const float* x, int count, std::int8_t* q, std::int32_t* sums) {
  constexpr std::int32_t kInfinity = 0x7f800000;
  auto most = V::zero();
  for (int i = 0; i < count; i += 16) {
    most = V::max32(most, V::magnitude_bits(V::loadu(x + i)));
  }
  // Magnitudes are ordered as their bits are, infinity and NaN above all others.
  const std::int32_t bits = V::largest(most);
  const float largest = __builtin_bit_cast(float, bits);
  float inverse = bits > 0 && bits < kInfinity ? 127.0f / largest : 0.0f;
  if (!(inverse <= 3.402823466e38f)) inverse = 0;
  if (bits >= kInfinity) {
    for (int i = 0; i < count; i += 16) {
      V::store_bytes(q + i, V::zero());
      sums[i / 16] = 0;
    }
    return __builtin_nanf("");
  }
  for (int i = 0; i < count; i += 16) {
    const auto v = V::round(V::mul(V::loadu(x + i), V::set1f(inverse)));
    V::store_bytes(q + i, v);
    sums[i / 16] = V::sum(v);
  }
  return largest / 127.0f;
}

template <class V>
void quantize_left(QuantType type, const float* const* rows, std::int64_t m, std::int64_t k,
                   std::byte* left) noexcept {
  const QuantLeftLayout layout = quant_left_layout(type);
  auto* const q = reinterpret_cast<std::int8_t*>(left);
  auto* const scales = reinterpret_cast<float*>(left + layout.scales_at(m, k));
  std::byte* const extra = left + layout.sums_at(m, k);
  alignas(64) std::int8_t group[256];
  std::int32_t sums[16];
  for (Index r = 0; r < m; ++r) {
    for (Index at = 0, g = 0; at < k; at += layout.scale_group, ++g) {
      const float scale = quantize_group<V>(rows[r] + at, layout.scale_group, group, sums);
      scales[g * m + r] = scale;
      for (int i = 0; i < layout.scale_group / 32; ++i) {
        const Index b = (at / 32 + i) * m + r;
        __builtin_memcpy(q + b * 32, group + 32 * i, 32);
        put_sums(layout, extra, b, g * m + r, i, sums[2 * i], sums[2 * i + 1], scale);
      }
    }
  }
}

template <class V>
void product(const QuantTile& tile) noexcept {
  const QuantLeftLayout layout = quant_left_layout(tile.type);
  const Index panel_size = quant_layout(tile.type)->panel_size(tile.k);
  switch (tile.type) {
    case QuantType::kQ4_0:
      return product_of<V, TakeQ4_0<V>, false>(tile, layout, panel_size);
    case QuantType::kQ4_1:
      return product_of<V, TakeQ4_1<V>, false>(tile, layout, panel_size);
    case QuantType::kQ5_0:
      return product_of<V, TakeQ5_0<V>, false>(tile, layout, panel_size);
    case QuantType::kQ5_1:
      return product_of<V, TakeQ5_1<V>, false>(tile, layout, panel_size);
    case QuantType::kQ8_0:
      return product_of<V, TakeQ8_0<V>, false>(tile, layout, panel_size);
    case QuantType::kIQ4_NL:
      return product_of<V, TakeIQ4_NL<V>, false>(tile, layout, panel_size);
    case QuantType::kMXFP4:
      return product_of<V, TakeMXFP4<V>, false>(tile, layout, panel_size);
    case QuantType::kQ2_K:
      return product_of<V, TakeQ2_K<V>, true>(tile, layout, panel_size);
    case QuantType::kQ3_K:
      return product_of<V, TakeQ3_K<V>, true>(tile, layout, panel_size);
    case QuantType::kQ4_K:
      return product_of<V, TakeQ4_K<V>, true>(tile, layout, panel_size);
    case QuantType::kQ5_K:
      return product_of<V, TakeQ5_K<V>, true>(tile, layout, panel_size);
    case QuantType::kQ6_K:
      return product_of<V, TakeQ6_K<V>, true>(tile, layout, panel_size);
    case QuantType::kIQ4_XS:
      return product_of<V, TakeIQ4_XS<V>, true>(tile, layout, panel_size);
    default:
      return;
  }
}

}  // namespace
}  // namespace conclave::kernels
