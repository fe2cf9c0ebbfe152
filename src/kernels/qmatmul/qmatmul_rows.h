// Quantised products of blocks of 32 numbers over a vector type V (see qmatmul_body.h), and what
// super-blocks share with them.
#pragma once

#include "kernels/qmatmul/qmatmul_kernels.h"
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
// ahead of on their own. 8 KiB of four-bit weights are about 1 us of work for 8 rows, some ten
// times the latency of memory.
constexpr int kAhead = 8192, kSecondLevel = 2;  // for __builtin_prefetch
template <int kBytes>
[[gnu::always_inline]] inline void fetch_ahead(const std::byte* block) {
  repeat<(kBytes + 63) / 64>([&]<int i>() __attribute__((always_inline)) {
    __builtin_prefetch(block + kAhead + 64 * i, 0, kSecondLevel);
  });
}

// Few rows wait for memory. Zen 4 fetches ahead of them on its own. Zen 3, which the products of
// pairs were measured on, does so too late while it computes beside. So it is asked, evenly over
// the steps, for what comes kNear on, into the first cache: 100 ns of a core's 20 to 30 GB/s.
// Blocks of 32 of two panels go side by side, too (docs/decisions/0014).
constexpr int kNear = 2048;
template <class T>
constexpr bool kSuperBlocks = T::kGroups > 1;
template <class V, class T, int R>
constexpr bool kStepByStep = (R <= T::kStepRows) && V::kPairs;

template <class V, class T>
using Number = typename V::template Number<T::kMost>;

// Bytes of 32 numbers of a left tile, and whether it has starts.
template <class V, class T>
constexpr int kLeft = V::template kWide<T::kMost> ? 64 : 32;
template <class V, class T>
constexpr bool kStarts = T::kOffset != 0 && !V::template kWide<T::kMost>;

// 32 numbers of a left tile with m rows; null what its type does not have.
struct LeftBlock {
  const std::byte* q;         // [m][kLeft<V, T>]
  const std::int32_t* start;  // [m], or pairs of int16
  const float* scale;         // [m]
  const float* scaled_sum;    // [m]
};
struct LeftBlocks {
  const std::byte* q;
  const std::byte* sums;
  const float* scale;
  LeftBlocks(const QuantTile& tile, const QuantLeftLayout& layout)
      : q(tile.left),
        sums(tile.left + layout.sums_at(tile.rows, tile.k)),
        scale(reinterpret_cast<const float*>(tile.left + layout.scales_at(tile.rows, tile.k))) {}
  // m is the tile's, a constant where rows are few.
  template <class V, class T>
  [[gnu::always_inline]] LeftBlock block(Index b, Index m) const {
    const auto* start =
        kStarts<V, T> ? reinterpret_cast<const std::int32_t*>(sums) + b * m : nullptr;
    const auto* sum = T::kMin ? reinterpret_cast<const float*>(sums) + b * m : nullptr;
    return {q + b * m * kLeft<V, T>, start, scale + b * m, sum};
  }
};

// What dot products of a group start from: a sum of the activations times the weights' offset.
template <class V, class T>
[[gnu::always_inline]] inline typename V::I start_of(const std::int32_t* start) {
  if constexpr (kStarts<V, T>) {
    return V::set1_32(*start);
  } else {
    return V::zero();
  }
}

// Numbers 4 j .. 4 j + 3 of group g of a block as products take them. They come from the block's
// words, or were kept, or both: the first rows of several take them from the words and keep them.
template <class V, class T>
struct KeptBlock {
  typename V::template Kept<T::kMost> numbers[T::kGroups][8];
};
template <class V, class T>
struct FromWords {
  const std::byte* words;
  [[gnu::always_inline]] Number<V, T> operator()(int g, int j) const {
    return V::template number<T::kMost>(T::number(words, g, j));
  }
};
// The same for kCount groups, asking for the kBytes from `ahead` on, evenly over the steps;
// kTogether groups take a step together.
template <class V, class T, int kBytes, int kCount, int kTogether>
struct FromWordsAhead {
  const std::byte* words;
  const std::byte* ahead;
  [[gnu::always_inline]] Number<V, T> operator()(int g, int j) const {
    constexpr int kLines = (kBytes + 63) / 64, kSteps = 8 * kCount / kTogether;
    constexpr int kMostLines = (kLines + kSteps - 1) / kSteps;
    typename V::I numbers = T::number(words, g, j);
    if (g % kTogether == 0) {
      const int step = 8 * (g / kTogether) + j;
      const int line = step * kLines / kSteps, end = (step + 1) * kLines / kSteps;
      repeat<kMostLines>([&]<int i>() __attribute__((always_inline)) {
        if (line + i < end) V::fetch_beside(numbers, ahead + 64 * (line + i));
      });
    }
    return V::template number<T::kMost>(numbers);
  }
};
template <class V, class T>
struct FromKept {
  const KeptBlock<V, T>& kept;
  [[gnu::always_inline]] Number<V, T> operator()(int g, int j) const {
    return V::kept(kept.numbers[g][j]);
  }
};
// All numbers of a block, in the order of memory.
template <class V, class T>
[[gnu::always_inline]] inline void keep_all(const std::byte* words, KeptBlock<V, T>& kept) {
  constexpr int kSharing = T::kGroups < 4 ? T::kGroups : 4;  // groups that share words
  repeat<T::kGroups / kSharing>([&]<int part>() __attribute__((always_inline)) {
    repeat<8>([&]<int j>() __attribute__((always_inline)) {
      repeat<kSharing>([&]<int i>() __attribute__((always_inline)) {
        constexpr int g = kSharing * part + i;
        V::keep(FromWords<V, T>{words}(g, j), kept.numbers[g][j]);
      });
    });
  });
}
template <class V, class T>
struct Keeping {
  const std::byte* words;
  KeptBlock<V, T>& kept;
  [[gnu::always_inline]] Number<V, T> operator()(int g, int j) const {
    const Number<V, T> numbers = FromWords<V, T>{words}(g, j);
    V::keep(numbers, kept.numbers[g][j]);
    return numbers;
  }
};

// done<i>(dot) for rows r .. r + R - 1.
template <class V, class T, int R, class Numbers, class Done>
[[gnu::always_inline]] inline void dots_of_32(const Numbers& w, const LeftBlock& left, Index r,
                                              const Done& done) {
  if constexpr (V::kPairs) {
    V::template dots<T, 1, 1, R>(
        [&]<int, int j>() __attribute__((always_inline)) { return w(0, j); },
        left.q + r * kLeft<V, T>,
        0, [&]<int, int>() __attribute__((always_inline)) { return V::set1_16(1); },
        [&]<int, int i, int>()
            __attribute__((always_inline)) { return kStarts<V, T> ? left.start + r + i : nullptr; },
        [&]<int, int i, int>(typename V::I dot)
            __attribute__((always_inline)) { done.template operator()<i>(dot); });
  } else {
    typename V::I dot[R];
    repeat<R>([&]<int i>()
                  __attribute__((always_inline)) { dot[i] = start_of<V, T>(left.start + r + i); });
    repeat<8>([&]<int j>() __attribute__((always_inline)) {
      repeat<R>([&]<int i>() __attribute__((always_inline)) {
        dot[i] = V::dot(dot[i], w(0, j), left.q + (r + i) * kLeft<V, T> + 4 * j);
      });
    });
    repeat<R>([&]<int i>() __attribute__((always_inline)) { done.template operator()<i>(dot[i]); });
  }
}

template <class V, class T, int R, class Numbers>
[[gnu::always_inline]] inline void rows_of_32(const Numbers& w, typename V::F d, typename V::F min,
                                              const LeftBlock& left, Index r, Sums& sums) {
  dots_of_32<V, T, R>(
      w, left, r, [&]<int i>(typename V::I dot) __attribute__((always_inline)) {
        float* sum = sums.of[r + i];
        auto total =
            V::fma(V::mul(V::to_float(dot), d), V::set1f(left.scale[r + i]), V::loadf(sum));
        if constexpr (T::kMin) total = V::fma(min, V::set1f(left.scaled_sum[r + i]), total);
        V::storef(sum, total);
      });
}

// body.template operator()<R>(r) for rows r .. m - 1 in groups of R <= V::kRows.
template <class V, class Body>
inline void for_rows(Index r, Index m, const Body& body) {
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
  const Index m = tile.rows;
  const LeftBlocks blocks(tile, layout);
  for (Index b = 0; b < tile.k / 32; ++b) {
    const std::byte* factors = panel + b * kBlockBytes<T>;
    fetch_ahead<kBlockBytes<T>>(factors);
    const auto d = T::scale(factors);
    auto min = d;
    if constexpr (T::kMin) min = T::min(factors);
    const LeftBlock left = blocks.block<V, T>(b, m);
    KeptBlock<V, T> kept;
    Index first = 0;
    if constexpr (V::kPairs) {
      static_assert(V::kRows <= 5);  // panel_product has at least as many
      rows_of_32<V, T, V::kRows>(Keeping<V, T>{factors + T::kFactors, kept}, d, min, left, 0, sums);
      first = V::kRows;
    } else {
      keep_all(factors + T::kFactors, kept);
    }
    for_rows<V>(first, m, [&]<int R>(Index r) {
      const auto* from = &kept;
      // Unknown, lest some of the numbers stay in registers over all rows and sums go to memory.
      if constexpr (V::kPairs) asm volatile("" : "+r"(from));
      rows_of_32<V, T, R>(FromKept<V, T>{*from}, d, min, left, r, sums);
    });
  }
}

// The same for R rows, whose sums stay in registers: few rows are bound by taking weights apart. Of
// P panels, `stride` bytes apart, block b of each, then the next; to sums[P]. A function of its
// own: inlined, it took the registers of products of many rows (8 rows of Q4_0 54 instead of 67 %
// of the peak).
template <class V, class T, int R, int P>
[[gnu::noinline]] void panels_of_32_few(const QuantTile& tile, const QuantLeftLayout& layout,
                                        const std::byte* panel, Index stride, Sums* sums) {
  const LeftBlocks blocks(tile, layout);
  typename V::F total[P][R];
  repeat<P * R>([&]<int i>() __attribute__((always_inline)) { total[i / R][i % R] = V::zerof(); });
  for (Index b = 0; b < tile.k / 32; ++b) {
    const LeftBlock left = blocks.block<V, T>(b, R);
    repeat<P>([&]<int p>() __attribute__((always_inline)) {
      const std::byte* factors = panel + b * kBlockBytes<T> + p * stride;
      const std::byte* words = factors + T::kFactors;
      const auto d = T::scale(factors);
      const auto done = [&]<int i>(typename V::I dot) __attribute__((always_inline)) {
        auto& sum = total[p][i];
        sum = V::fma(V::mul(V::to_float(dot), d), V::set1f(left.scale[i]), sum);
        if constexpr (T::kMin) sum = V::fma(T::min(factors), V::set1f(left.scaled_sum[i]), sum);
      };
      if constexpr (kStepByStep<V, T, R>) {
        using Numbers = FromWordsAhead<V, T, kBlockBytes<T>, 1, 1>;
        dots_of_32<V, T, R>(Numbers{words, factors + kNear}, left, 0, done);
      } else if constexpr (V::kPairs) {
        fetch_ahead<kBlockBytes<T>>(factors);
        dots_of_32<V, T, R>(FromWords<V, T>{words}, left, 0, done);
      } else {
        KeptBlock<V, T> kept;
        keep_all(words, kept);
        dots_of_32<V, T, R>(FromKept<V, T>{kept}, left, 0, done);
      }
    });
  }
  repeat<P * R>([&]<int i>() __attribute__((always_inline)) {
    V::storef(sums[i / R].of[i % R], total[i / R][i % R]);
  });
}

}  // namespace
}  // namespace conclave::kernels
