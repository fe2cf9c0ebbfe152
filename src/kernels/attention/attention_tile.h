// The one inner loop of all seven matrix products of attention, over a vector type V, and the
// geometry that forward and backward share.
//
// Every product is  acc[r][c] += sum_n a[r, n] * b[n, c]  with a read one number at a time and b in
// vectors: lanes are keys for the scores, and elements of a head for everything else. Sums run over
// n in order, one fused multiply-add each, so their bits do not depend on the shape of the tile.
#pragma once

#include <type_traits>

#include "kernels/attention/attention.h"
#include "kernels/simd/simd.h"

namespace conclave::kernels {

template <class V>
struct AttentionTile {
  using Vec = typename V::Vec;
  static constexpr int kLanes = V::kLanes;

  // Keys that are taken together, from a multiple of it: the unit of the online softmax.
  static constexpr int kKeys = kAttentionKeyBlock;
  // Scores are computed for whole groups of so many.
  static constexpr int kScoreUnit = 16;
  // 6 rows x 4 vectors make 24 sums, 4 loads and 1 broadcast: 29 of 32 registers, and 10 loads for
  // 24 products. With 16 registers, 6 x 2 likewise take 15.
  static constexpr int kRows = 6;
  static constexpr int kVectors = V::kRegisters >= 32 ? 4 : 2;
  // Rows that share a block of keys while it is in the first cache. A multiple of kRows.
  static constexpr int kTileRows = 48;

  // Vectors of b that R rows take together. Few rows have registers for more: b is then read in
  // longer runs, and more sums are under way. Q8_0, no pointer, takes registers for its scales too.
  template <class B>
  static constexpr int vectors_of(int R) {
    if (V::kRegisters >= 32) return R <= 3 ? 8 : kVectors;
    if (!std::is_pointer_v<B>) return R == 1 ? 4 : kVectors;
    return R == 1 ? 8 : R <= 3 ? 4 : kVectors;
  }

  // A head's width in whole vectors: the row stride of everything packed.
  static Index padded(int head_dim) { return (head_dim + kLanes - 1) / kLanes * kLanes; }
  static Index round_up(Index n, Index unit) { return (n + unit - 1) / unit * unit; }

  static Vec load(const float* p) { return V::load(p); }
  static Vec load(const f16* p) { return V::load_half(p); }
  static Vec load_first(const float* p, Index n) { return V::load_first(p, n); }
  static Vec load_first(const std::int8_t* p, Index n) {
    if (n >= kLanes) return V::load_bytes(p);
    std::int8_t part[kLanes] = {};
    for (Index i = 0; i < n; ++i) part[i] = p[i];
    return V::load_bytes(part);
  }
  static Vec load_first(const f16* p, Index n) {
    if (n >= kLanes) return V::load_half(p);
    f16 part[kLanes] = {};
    for (Index i = 0; i < n; ++i) part[i] = p[i];
    return V::load_half(part);
  }

  // Keys of a block in Q8_0, [n][kKeys], with a row of scales [kKeys] for every kKvScaleGroup of
  // them.
  struct Q8Keys {
    const std::int8_t* numbers;
    const f16* scales;

    Q8Keys operator+(Index keys) const { return {numbers + keys, scales + keys}; }
  };
  // Values of a block in Q8_0 from `column` on, with `groups` scales a row, widened already.
  struct Q8Values {
    const std::int8_t* numbers;
    const float* scales;
    Index groups, column;

    Q8Values& operator+=(Index columns) {
      numbers += columns;
      column += columns;
      return *this;
    }
  };
  template <class B>
  static const B* skip_rows(const B* values, Index rows, Index width) {
    return values + rows * width;
  }
  static Q8Values skip_rows(const Q8Values& v, Index rows, Index width) {
    return {v.numbers + rows * width, v.scales + rows * v.groups, v.groups, v.column};
  }

  template <int R, int C, int kRow>
  static void add_products(const float* a, const Vec (&right)[C], Vec (&acc)[R][C]) {
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const Vec left = V::set(a[r * kRow]);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) acc[r][c] = V::fma(left, right[c], acc[r][c]);
    }
  }

  template <int R, int C, int kRow, int kStep>
  static void multiply(Index n, const float* a, Q8Keys b, Index b_step, Index b_vector, Index,
                       Vec (&acc)[R][C]) {
    // Where sums need the registers of scales, these wait in memory, at an address that the
    // compiler cannot know: it would have a sum wait there at every step. (With AVX-512, where one
    // register would be missing, not looked at.)
    constexpr bool kWaiting = V::kRegisters < 32 && R * C + 2 * C + 1 > V::kRegisters;
    for (; n > 0; n -= kKvScaleGroup, b.scales += kKeys) {
      Vec scale[C], right[C];
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) scale[c] = V::load_half(b.scales + c * b_vector);
      const Index group = n < kKvScaleGroup ? n : kKvScaleGroup;
      const Vec* from = scale;
      for (Index i = 0; i < group; ++i, a += kStep, b.numbers += b_step) {
        if constexpr (kWaiting) asm volatile("" : "+r"(from));
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) right[c] = V::load_bytes(b.numbers + c * b_vector) * from[c];
        add_products<R, C, kRow>(a, right, acc);
      }
    }
  }

  template <int R, int C, int kRow, int kStep>
  static void multiply(Index n, const float* a, Q8Values b, Index b_step, Index b_vector, Index,
                       Vec (&acc)[R][C]) {
    const float* scale[C];
    for (int c = 0; c < C; ++c) scale[c] = b.scales + (b.column + c * b_vector) / kKvScaleGroup;
    for (Index i = 0; i < n; ++i, a += kStep, b.numbers += b_step) {
      Vec right[C];
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) {
        right[c] = V::load_bytes(b.numbers + c * b_vector) * V::set(scale[c][i * b.groups]);
      }
      add_products<R, C, kRow>(a, right, acc);
    }
  }

  // Element (r, n) of a is a[r * kRow + n * kStep]; vector c of row n of b is at
  // b + n * b_step + c * b_vector. B: float or f16; for f16, what lies `ahead` bytes behind b is
  // needed next, unless it is 0.
  template <int R, int C, int kRow, int kStep, class B>
  static void multiply(Index n, const float* a, const B* b, Index b_step, Index b_vector,
                       Index ahead, Vec (&acc)[R][C]) {
    for (Index i = 0; i < n; ++i, a += kStep, b += b_step) {
      if constexpr (V::kRegisters < 32 && R <= 3) {  // no registers for C vectors of b
        Vec left[R];
#pragma GCC unroll 3
        for (int r = 0; r < R; ++r) left[r] = V::set(a[r * kRow]);
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) {
          const Vec one = load(b + c * b_vector);
#pragma GCC unroll 3
          for (int r = 0; r < R; ++r) acc[r][c] = V::fma(left[r], one, acc[r][c]);
        }
      } else {
        Vec right[C];
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) {
          right[c] = load(b + c * b_vector);
          // f16 comes straight from memory. Beside many products a load waits for its line; few
          // rows are slower with these (one row 17 instead of 28 GB/s).
          if constexpr (sizeof(B) == 2 && R > 3) {
            const char* const at = reinterpret_cast<const char*>(b + c * b_vector);
            if (c % 2 == 0 && ahead != 0) __builtin_prefetch(at + ahead);
          }
        }
        add_products<R, C, kRow>(a, right, acc);
      }
    }
  }

  // y[r][0 .. C*kLanes) = y[r][..] * factor[r] + sum_n a[r, n] * b[n][..]; factor null: 1.
  template <int R, int C, int kRow, int kStep, class B>
  static void accumulate_strip(Index n, const float* a, B b, Index b_step, Index ahead,
                               const float* factor, float* y, Index y_stride) {
    Vec acc[R][C];
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) {
        acc[r][c] = V::load(y + r * y_stride + c * kLanes);
        if (factor != nullptr) acc[r][c] = acc[r][c] * V::set(factor[r]);
      }
    }
    multiply<R, C, kRow, kStep>(n, a, b, b_step, kLanes, ahead, acc);
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) V::store(y + r * y_stride + c * kLanes, acc[r][c]);
    }
  }

  // The same for `width` columns, a multiple of kLanes.
  template <int R, int kRow, int kStep, class B>
  static void accumulate_rows(Index n, const float* a, B b, Index b_step, Index ahead,
                              const float* factor, float* y, Index y_stride, Index width) {
    strips<vectors_of<B>(R)>([&]<int C>() {
      for (; width >= Index{C} * kLanes; width -= C * kLanes, b += C * kLanes, y += C * kLanes) {
        accumulate_strip<R, C, kRow, kStep>(n, a, b, b_step, ahead, factor, y, y_stride);
      }
    });
  }
  // run.operator()<C>() for C, C / 2, ..., 1.
  template <int C, class Run>
  static void strips(const Run& run) {
    run.template operator()<C>();
    if constexpr (C > 1) strips<C / 2>(run);
  }

  // The same for 1 to kRows rows.
  template <int kRow, int kStep, class B>
  static void accumulate(int rows, Index n, const float* a, B b, Index b_step, Index ahead,
                         const float* factor, float* y, Index y_stride, Index width) {
    const auto run = [&]<int R>() {
      accumulate_rows<R, kRow, kStep>(n, a, b, b_step, ahead, factor, y, y_stride, width);
    };
    with_rows(rows, run);
  }

  template <class F>
  static void with_rows(int rows, const F& run) {
    switch (rows) {
      case 1:
        return run.template operator()<1>();
      case 2:
        return run.template operator()<2>();
      case 3:
        return run.template operator()<3>();
      case 4:
        return run.template operator()<4>();
      case 5:
        return run.template operator()<5>();
      default:
        return run.template operator()<6>();
    }
  }

  // y[r][key] = sum_d a[d][r] * key[d] for keys begin .. end-1 of a block, both multiples of
  // kScoreUnit. `keys` is [Q][kKeys], a is packed [Q][kRows], y is [R][kKeys].
  template <int R, class B>
  static void scores(int head_dim, const float* a, B keys, int begin, int end, float* y) {
    constexpr int kBlock = kKeys / kLanes;
    constexpr int kMost = vectors_of<B>(R) < kBlock ? vectors_of<B>(R) : kBlock;
    int key = begin;
    strips<kMost>([&]<int C>() {
      if constexpr (C * kLanes >= kScoreUnit) {
        for (; key + C * kLanes <= end; key += C * kLanes) {
          score_strip<R, C>(head_dim, a, keys + key, y + key);
        }
      }
    });
  }

  template <int R, int C, class B>
  static void score_strip(int head_dim, const float* a, B b, float* y) {
    Vec acc[R][C];
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) acc[r][c] = V::set(0.f);
    }
    // Of f16: the values lie behind the keys.
    const Index ahead = Index{head_dim} * kKeys * static_cast<Index>(sizeof(f16));
    multiply<R, C, 1, kRows>(head_dim, a, b, kKeys, kLanes, ahead, acc);
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) V::store(y + r * kKeys + c * kLanes, acc[r][c]);
    }
  }

  // Which keys of the block that starts at position `block` a query at `position` sees: begin ..
  // end-1, counted from the block. Empty (end <= begin) where it sees none.
  struct Range {
    int begin, end;
  };
  static Range visible(Index position, int window, Index block, Index first_key = 0) {
    const Index in_window = window > 0 ? position - window + 1 : 0;
    const Index first = in_window > first_key ? in_window : first_key;
    const Index begin = first > block ? first - block : 0;
    const Index end = position + 1 - block;
    return {static_cast<int>(begin < kKeys ? begin : kKeys),
            static_cast<int>(end < 0       ? 0
                             : end < kKeys ? end
                                           : kKeys)};
  }
  // What is seen in whole kScoreUnits, for which scores are computed.
  static Range in_score_units(Range seen) {
    return {seen.begin / kScoreUnit * kScoreUnit, static_cast<int>(round_up(seen.end, kScoreUnit))};
  }
  // What rows from position `low` to `high` see together.
  static Range visible_together(Index low, Index high, int window, Index block,
                                Index first_key = 0) {
    return {visible(low, window, block, first_key).begin, visible(high, window, block).end};
  }

  // The rows of a tile are (token, head) pairs, heads fastest. Packs `count` rows from `row` on,
  // times `factor`, as [Q][kRows]; rows beyond `count` become 0.
  static void pack_columns(const float* x, Index stride, int n_heads, int head_dim, Index row,
                           int count, float factor, float* packed) {
    for (int r = 0; r < kRows; ++r) {
      if (r >= count) {
        for (int d = 0; d < head_dim; ++d) packed[d * kRows + r] = 0;
        continue;
      }
      const float* from = x + (row + r) / n_heads * stride + (row + r) % n_heads * head_dim;
      for (int d = 0; d < head_dim; ++d) packed[d * kRows + r] = from[d] * factor;
    }
  }
};

}  // namespace conclave::kernels
