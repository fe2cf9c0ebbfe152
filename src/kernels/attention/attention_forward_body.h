// Attention forward over a vector type V: online softmax over blocks of 64 keys (Dao et al. 2022,
// algorithm 1). Scores are kept in powers of two (q is scaled by scale * log2(e)).
//
// Blocks are aligned to absolute positions and each row goes through the same operations whatever
// rows share its tile: a key that the row does not see gets the weight 0, and a block of such keys
// multiplies by exactly 1 and adds exact zeros.
#pragma once

#include <float.h>
#include <math.h>

#include "kernels/attention/attention_tile.h"

namespace conclave::kernels {

template <class V>
struct AttentionForwardBody {
  using Tile = AttentionTile<V>;
  using Vec = typename V::Vec;
  static constexpr int kLanes = V::kLanes;
  static constexpr int kRows = Tile::kRows;
  static constexpr int kKeys = Tile::kKeys;
  static constexpr int kDirectRows = 2 * kRows;

  // Where things lie in the scratch memory, in floats.
  struct Layout {
    Index acc;  // [rows][padded Q]
    Index sum;  // [rows][kLanes]: partial sums of the weights
    Index p;    // [kRows][kKeys]: scores, then weights
    Index q;    // [rows/kRows][Q][kRows]
    Index top;  // [rows]: the largest score so far
    Index v;    // [kKeys][padded Q], where Q is no multiple of kLanes or v in half precision
    Index k;    // [Q][kKeys], where k is in half precision
    Index total;

    static Index round_up(Index floats) { return Tile::round_up(floats, 16); }
    Layout(Index tokens, int n_heads, int head_dim) {
      const Index rows = Tile::round_up(tokens * n_heads, kRows);
      const Index width = Tile::padded(head_dim);
      acc = 0;
      sum = acc + rows * width;
      p = sum + rows * kLanes;
      q = p + kRows * kKeys;
      top = q + rows * head_dim;
      v = round_up(top + rows);
      k = v + kKeys * width;
      total = k + kKeys * head_dim;
    }
  };
  struct Scratch {
    float *acc, *sum, *p, *q, *top, *v, *k;
    Scratch(float* m, const Layout& at)
        : acc(m + at.acc),
          sum(m + at.sum),
          p(m + at.p),
          q(m + at.q),
          top(m + at.top),
          v(m + at.v),
          k(m + at.k) {}
  };

  static std::int64_t scratch_floats(Index tokens, int n_heads, int head_dim) noexcept {
    return Layout(tokens, n_heads, head_dim).total;
  }

  static void forward(const AttentionForward& a, float* memory) noexcept {
    const Scratch s(memory, Layout(a.n_tokens, a.n_heads, a.head_dim));
    const Index rows = a.n_tokens * a.n_heads;
    begin_rows(a, s, rows);
    const bool whole = a.head_dim % kLanes == 0;
    const Index last = a.first_position + a.n_tokens - 1;
    const Index in_window = a.window > 0 ? a.first_position - a.window + 1 : 0;
    const Index first = in_window > a.first_key ? in_window : a.first_key;
    for (Index block = first > 0 ? first / kKeys * kKeys : 0; block <= last; block += kKeys) {
      const Index keys = last + 1 - block < kKeys ? last + 1 - block : kKeys;
      const Index i = block / kKeys;
      if (a.kv_half.blocks == nullptr) {
        const float* values = a.kv.values(i, a.head_dim);
        add_rows(a, s, rows, block, a.kv.keys(i), whole ? values : copy_values(a, s, values, keys));
      } else if (whole && rows <= kDirectRows) {
        // Little is used twice: converted on the way into the products.
        add_rows(a, s, rows, block, a.kv_half.keys(i), a.kv_half.values(i, a.head_dim));
      } else {
        add_rows(a, s, rows, block, copy_keys(a, s, a.kv_half.keys(i)),
                 copy_values(a, s, a.kv_half.values(i, a.head_dim), keys));
      }
    }
    for (Index row = 0; row < rows; ++row) finish_row(a, s, row);
  }

  static void begin_rows(const AttentionForward& a, const Scratch& s, Index rows) {
    constexpr float kLog2E = 1.4426950408889634f;
    for (Index row = 0; row < rows; row += kRows) {
      const int count = static_cast<int>(rows - row < kRows ? rows - row : kRows);
      Tile::pack_columns(a.q, a.q_stride, a.n_heads, a.head_dim, row, count, a.scale * kLog2E,
                         s.q + row * a.head_dim);
    }
    const Index width = Tile::padded(a.head_dim);
    for (Index i = 0; i < rows * width; i += kLanes) V::store(s.acc + i, V::set(0.f));
    for (Index row = 0; row < rows; ++row) {
      V::store(s.sum + row * kLanes, V::set(0.f));
      s.top[row] = -FLT_MAX;  // no -inf, whose difference to itself is NaN
    }
  }

  // The first `keys` rows of a block of values, with a stride of padded(Q).
  template <class B>
  static const float* copy_values(const AttentionForward& a, const Scratch& s, const B* values,
                                  Index keys) {
    const Index width = Tile::padded(a.head_dim);
    for (Index j = 0; j < keys; ++j) {
      const B* from = values + j * a.head_dim;
      for (Index d = 0; d < width; d += kLanes) {
        V::store(s.v + j * width + d, Tile::load_first(from + d, a.head_dim - d));
      }
    }
    return s.v;
  }

  static const float* copy_keys(const AttentionForward& a, const Scratch& s, const f16* from) {
    const Index n = static_cast<Index>(kKeys) * a.head_dim;
    for (Index i = 0; i < n; i += kLanes) V::store(s.k + i, V::load_half(from + i));
    return s.k;
  }

  // Takes the keys of one block into all rows. B: float or f16.
  template <class B>
  static void add_rows(const AttentionForward& a, const Scratch& s, Index rows, Index block,
                       const B* keys, const B* values) {
    for (Index row = 0; row < rows; row += kRows) add_block(a, s, row, rows, block, keys, values);
  }

  // Takes the keys of one block into up to kRows rows.
  template <class B>
  static void add_block(const AttentionForward& a, const Scratch& s, Index row, Index rows,
                        Index block, const B* keys, const B* values) {
    const int count = static_cast<int>(rows - row < kRows ? rows - row : kRows);
    const Index low = a.first_position + row / a.n_heads;
    const Index high = a.first_position + (row + count - 1) / a.n_heads;
    const auto seen = Tile::visible_together(low, high, a.window, block, a.first_key);
    if (seen.end <= seen.begin) return;
    const int begin = seen.begin / Tile::kScoreUnit * Tile::kScoreUnit;
    const int end = static_cast<int>(Tile::round_up(seen.end, Tile::kScoreUnit));
    Tile::with_rows(count, [&]<int R>() {
      Tile::template scores<R>(a.head_dim, s.q + row * a.head_dim, keys, begin, end, s.p);
    });
    float factor[kRows];
    weigh(a, s, row, count, block, begin, end, factor);
    const Index width = Tile::padded(a.head_dim);
    Tile::template accumulate<kKeys, 1>(count, seen.end - seen.begin, s.p + seen.begin,
                                        values + seen.begin * width, width, factor,
                                        s.acc + row * width, width, width);
  }

  // Scores begin .. end-1 of `count` rows become weights 2^(score - top). factor[r]: by what the
  // row's earlier weights shrink, because its largest score has grown.
  static void weigh(const AttentionForward& a, const Scratch& s, Index row, int count, Index block,
                    int begin, int end, float* factor) {
    float block_top[kRows];
    for (int r = 0; r < count; ++r) {
      const Index position = a.first_position + (row + r) / a.n_heads;
      const auto seen = Tile::visible(position, a.window, block, a.first_key);
      block_top[r] = mask_row(seen, begin, end, s.p + r * kKeys);
    }
    const Vec old_top = V::load_first(s.top + row, count);
    const Vec new_top = V::max(V::load_first(block_top, count), old_top);
    V::store_first(s.top + row, new_top, count);
    V::store_first(factor, exp2<V>(old_top - new_top), count);
    for (int r = 0; r < count; ++r) {
      const Vec top = V::set(s.top[row + r]);
      float* p = s.p + r * kKeys;
      float* sum = s.sum + (row + r) * kLanes;
      Vec total = V::load(sum) * V::set(factor[r]);
      for (int i = begin; i < end; i += kLanes) {
        const Vec weight = exp2<V>(V::load(p + i) - top);
        V::store(p + i, weight);
        total = total + weight;
      }
      V::store(sum, total);
    }
  }

  // The largest of the scores begin .. end-1 that are seen; the others become -inf.
  static float mask_row(typename Tile::Range seen, int begin, int end, float* p) {
    Vec high = V::set(-FLT_MAX);
    if (seen.begin <= begin && seen.end >= end) {
      for (int i = begin; i < end; i += kLanes) high = V::max(V::load(p + i), high);
      return V::top(high);
    }
    const Vec never = V::set(-HUGE_VALF);
    for (int i = begin; i < end; i += kLanes) {
      const Vec score = V::keep(V::load(p + i), seen.begin - i, seen.end - i, never);
      V::store(p + i, score);
      high = V::max(score, high);
    }
    return V::top(high);
  }

  static void finish_row(const AttentionForward& a, const Scratch& s, Index row) {
    const Index t = row / a.n_heads;
    const Index h = row % a.n_heads;
    const float total = V::sum(V::load(s.sum + row * kLanes));
    const Vec inverse = V::set(1.f / total);
    const float* acc = s.acc + row * Tile::padded(a.head_dim);
    float* out = a.out + t * a.out_stride + h * a.head_dim;
    for (Index d = 0; d < a.head_dim; d += kLanes) {
      // + 0 makes one zero of -0 (an underflow) and 0, which an unseen key may have added to it.
      const Vec value = V::load(acc + d) * inverse + V::set(0.f);
      V::store_first(out + d, value, a.head_dim - d);
    }
    constexpr float kLn2 = 0.69314718055994531f;
    if (a.lse != nullptr) a.lse[t * a.lse_stride + h] = s.top[row] * kLn2 + ::logf(total);
  }
};

}  // namespace conclave::kernels
