// Quantised products of super-blocks of 256 numbers over a vector type V (see qmatmul_body.h), in
// 32 bits or by sums of pairs (docs/decisions/0014).
#pragma once

#include <type_traits>

#include "kernels/qmatmul/qmatmul_rows.h"

namespace conclave::kernels {
namespace {

// A super-block of a left tile of m rows. Types have starts or pairs of sums.
struct SuperLeft {
  Index m;
  const std::byte* q;     // [8][m][kLeft<V, T>]
  const std::byte* sums;  // int32 or pairs [8][m][T::kParts], or int16 [m][T::kMinPairs][2]
  const float* scale;     // [m]
};
inline SuperLeft first_super_left(const QuantTile& tile, const QuantLeftLayout& layout) {
  return {tile.rows, tile.left, tile.left + layout.sums_at(tile.rows, tile.k),
          reinterpret_cast<const float*>(tile.left + layout.scales_at(tile.rows, tile.k))};
}
template <class V, class T>
inline void next(SuperLeft& left) {
  left.q += left.m * 8 * kLeft<V, T>;
  left.sums += left.m * (kStarts<V, T> ? 8 * T::kParts * 4 : T::kMinPairs * 4);
  left.scale += left.m;
}

// A super-block whose numbers were all taken before its products: for products of pairs with more
// than kStepRows rows.
template <class V, class T>
struct AllKept {
  const std::byte* words;
  KeptBlock<V, T> kept;
  [[gnu::always_inline]] explicit AllKept(const std::byte* from) : words(from) {
    keep_all(words, kept);
  }
  [[gnu::always_inline]] Number<V, T> operator()(int g, int j) const {
    return FromKept<V, T>{kept}(g, j);
  }
  // An eighth of what fetch_ahead asks for, in whole lines: all of a super-block are more than a
  // core waits for at a time, and its products would wait for the asking.
  [[gnu::always_inline]] void fetch_eighth(int eighth) const {
    constexpr int kLines = (kSuperBytes<T> / 64 + 7) / 8;
    repeat<kLines>([&]<int i>() __attribute__((always_inline)) {
      __builtin_prefetch(words + kAhead + 64 * (kLines * eighth + i), 0, kSecondLevel);
    });
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
        dot[g][p][i] = start_of<V, T>(start + i * T::kParts + p);
      });
    });
  });
  repeat<8>([&]<int j>() __attribute__((always_inline)) {
    repeat<kCount>([&]<int g>() __attribute__((always_inline)) {
      const std::byte* q = left.q + ((kFirst + g) * m + r) * kLeft<V, T> + 4 * j;
      const auto w = numbers(kFirst + g, j);
      repeat<R>([&]<int i>() __attribute__((always_inline)) {
        auto& sum = dot[g][j * T::kParts / 8][i];
        sum = V::dot(sum, w, q + kLeft<V, T> * i);
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

// Groups first .. first + G - 1, the numbers of whose g-th are numbers(g, j), times rows r .. r + R
// - 1, by sums of pairs: to part, of integers or floats.
template <class V, class T, int G, int R, class Numbers, class Part>
[[gnu::always_inline]] inline void groups_of_pairs(const Numbers& numbers, const Super<V>& super,
                                                   const SuperLeft& left, Index m, Index r,
                                                   int first, Part* part) {
  const Index row = first * m + r;
  const auto* starts =
      kStarts<V, T> ? reinterpret_cast<const std::int32_t*>(left.sums) + row * T::kParts : nullptr;
  // Several groups end their first parts before their second ones: floats would add up in another
  // order than those of one group after the other.
  static_assert(T::kIntegers || T::kParts == 1);
  V::template dots<T, T::kParts, G, R>(
      [&]<int g, int j>() __attribute__((always_inline)) { return numbers(g, j); },
      left.q + row * kLeft<V, T>, m * kLeft<V, T>,
      [&]<int g, int p>() __attribute__((always_inline)) {
        if constexpr (T::kIntegers) {
          return super.scale_pairs[T::kParts * (first + g) + p];
        } else {
          return V::set1_16(1);
        }
      },
      [&]<int g, int i, int p>() __attribute__((always_inline)) {
        return kStarts<V, T> ? starts + (g * m + i) * T::kParts + p : nullptr;
      },
      [&]<int g, int i, int p>(typename V::I dot) __attribute__((always_inline)) {
        if constexpr (T::kIntegers) {
          part[i] = V::add32(part[i], dot);
        } else {
          part[i] = V::fma(V::to_float(dot), super.scale[first + g], part[i]);
        }
      });
}

// Groups that few rows take together.
template <class V, int R>
constexpr int kTogether = V::kGroups / R;

// A super-block's numbers as rows take them from words: of one half, then the other, or of all.
template <class V, class T, int R>
struct SuperWords {
  static constexpr int kRuns = T::kHalves ? 2 : 1, kCount = 8 / kRuns;
  static constexpr int kRunWords = T::kWords / kRuns, kRunBytes = kSuperBytes<T> / kRuns;
  using Run = FromWordsAhead<V, T, kRunBytes, kCount, kTogether<V, R>>;
  static_assert(kCount % kTogether<V, R> == 0);

  const std::byte* factors;
  [[gnu::always_inline]] Run run(int i) const {
    const std::byte* words = factors + T::kFactors + T::kPlanes;
    return {words + i * kRunWords, factors + kNear + i * kRunBytes};
  }
};

// All groups by sums of pairs. Over numbers that were kept it is a loop, which compiles in a third
// of the time of unrolled groups. Numbers taken from words need constants; where halves are alike,
// one does for both: processors keep some 4,000 decoded instructions, of two programs where two
// share a core.
template <class V, class T, int R, class Part>
[[gnu::always_inline]] inline void all_pairs(const AllKept<V, T>& numbers, const Super<V>& super,
                                             const SuperLeft& left, Index m, Index r, Part* part) {
  for (int first = 0; first < 8; ++first) {
    if (r == 0) numbers.fetch_eighth(first);
    const auto group = [&](int g, int j) __attribute__((always_inline)) {
      return numbers(first + g, j);
    };
    groups_of_pairs<V, T, 1, R>(group, super, left, m, r, first, part);
  }
}
template <class V, class T, int R, class Part>
[[gnu::always_inline]] inline void all_pairs(const SuperWords<V, T, R>& numbers,
                                             const Super<V>& super, const SuperLeft& left, Index m,
                                             Index r, Part* part) {
  constexpr int G = kTogether<V, R>, kCount = SuperWords<V, T, R>::kCount;
  for (int i = 0; i < 8 / kCount; ++i) {
    const auto words = numbers.run(i);
    repeat<kCount / G>([&]<int k>() __attribute__((always_inline)) {
      const auto groups = [&](int g, int j) __attribute__((always_inline)) {
        return words(G * k + g, j);
      };
      groups_of_pairs<V, T, G, R>(groups, super, left, m, r, kCount * i + G * k, part);
    });
  }
}

// total[i] += rows r .. r + R - 1 of a super-block. m is left.m, a constant where rows are few.
template <class V, class T, int R, class Numbers>
[[gnu::always_inline]] inline void add_super_block(const Numbers& numbers, const Super<V>& super,
                                                   const SuperLeft& left, Index m, Index r,
                                                   typename V::F* total) {
  typename V::F part[R];
  if constexpr (T::kIntegers) {
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
  using Numbers = std::conditional_t<V::kPairs, AllKept<V, T>, FromWords<V, T>>;
  SuperLeft left = first_super_left(tile, layout);
  for (Index b = 0; b < tile.k / 256; ++b, next<V, T>(left)) {
    const std::byte* factors = panel + b * kSuperBytes<T>;
    if constexpr (!V::kPairs) fetch_ahead<kSuperBytes<T>>(factors);
    const Numbers numbers{factors + T::kFactors + T::kPlanes};
    Super<V> super;
    T::prepare(factors, super);
    for_rows<V>(0, tile.rows,
                [&]<int R>(Index r) { rows_of_256<V, T, R>(numbers, super, left, r, sums); });
  }
}

// The same for R rows, whose sums stay in registers.
template <class V, class T, int R>
inline void panel_of_256_few(const QuantTile& tile, const QuantLeftLayout& layout,
                             const std::byte* panel, Sums& sums) {
  SuperLeft left = first_super_left(tile, layout);
  typename V::F total[R];
  repeat<R>([&]<int i>() __attribute__((always_inline)) { total[i] = V::zerof(); });
  for (Index b = 0; b < tile.k / 256; ++b, next<V, T>(left)) {
    const std::byte* factors = panel + b * kSuperBytes<T>;
    Super<V> super;
    T::prepare(factors, super);
    if constexpr (kStepByStep<V, T, R>) {
      const SuperWords<V, T, R> numbers{factors};
      add_super_block<V, T, R>(numbers, super, left, R, 0, total);
    } else {
      using Numbers = std::conditional_t<V::kPairs, AllKept<V, T>, FromWords<V, T>>;
      const Numbers numbers{factors + T::kFactors + T::kPlanes};
      add_super_block<V, T, R>(numbers, super, left, R, 0, total);
    }
  }
  repeat<R>([&]<int i>() __attribute__((always_inline)) { V::storef(sums.of[i], total[i]); });
}

}  // namespace
}  // namespace conclave::kernels
