// Attention backward over a vector type V (Dao et al. 2022, algorithm 4): the weights are made
// again from the scores and lse. One call does a whole sequence for one key/value head:
//
//   for each tile of 48 rows (token, head), for each block of 64 keys that the tile sees:
//     scores and <do, v>  ->  p and ds  ->  dq of the tile, dk and dv of the block
//
// so that every sum, over keys for dq and over rows for dk and dv, runs in one order.
#pragma once

#include "kernels/attention/attention_tile.h"

namespace conclave::kernels {

template <class V>
struct AttentionBackwardBody {
  using Tile = AttentionTile<V>;
  using Vec = typename V::Vec;
  static constexpr int kLanes = V::kLanes;
  static constexpr int kRows = Tile::kRows;
  static constexpr int kKeys = Tile::kKeys;
  static constexpr int kTileRows = Tile::kTileRows;
  static constexpr float kLog2E = 1.4426950408889634f;

  // Where things lie in the scratch memory, in floats. W is Q in whole vectors.
  struct Layout {
    Index k;              // [S][W]: keys as rows
    Index v;              // [S/64][Q][64]: values like keys
    Index dk, dv;         // [S][W]
    Index q, d_out;       // [48][W]: rows of the tile, q times scale
    Index q_columns;      // [48/6][Q][6], q times scale * log2(e)
    Index d_out_columns;  // [48/6][Q][6]
    Index dq;             // [48][W]
    Index p, ds;          // [48][64]
    Index lse, delta;     // [48], lse times log2(e)
    Index total;

    Layout(Index n_tokens, int head_dim) {
      const Index keys = Tile::round_up(n_tokens, kKeys);
      const Index width = Tile::padded(head_dim);
      k = 0;
      v = k + keys * width;
      dk = v + keys * width;
      dv = dk + keys * width;
      q = dv + keys * width;
      d_out = q + kTileRows * width;
      q_columns = d_out + kTileRows * width;
      d_out_columns = q_columns + kTileRows * width;
      dq = d_out_columns + kTileRows * width;
      p = dq + kTileRows * width;
      ds = p + kTileRows * kKeys;
      lse = ds + kTileRows * kKeys;
      delta = lse + kTileRows;
      total = delta + kTileRows;
    }
  };
  struct Scratch {
    float *k, *v, *dk, *dv, *q, *d_out, *q_columns, *d_out_columns, *dq, *p, *ds, *lse, *delta;
    Scratch(float* m, const Layout& at)
        : k(m + at.k),
          v(m + at.v),
          dk(m + at.dk),
          dv(m + at.dv),
          q(m + at.q),
          d_out(m + at.d_out),
          q_columns(m + at.q_columns),
          d_out_columns(m + at.d_out_columns),
          dq(m + at.dq),
          p(m + at.p),
          ds(m + at.ds),
          lse(m + at.lse),
          delta(m + at.delta) {}
  };

  static std::int64_t scratch_floats(Index tokens, int, int head_dim) noexcept {
    return Layout(tokens, head_dim).total;
  }

  static void backward(const AttentionBackward& a, float* memory) noexcept {
    const Scratch s(memory, Layout(a.n_tokens, a.head_dim));
    begin_keys(a, s);
    const Index rows = a.n_tokens * a.n_heads;
    for (Index row = 0; row < rows; row += kTileRows) {
      const int count = static_cast<int>(rows - row < kTileRows ? rows - row : kTileRows);
      begin_rows(a, s, row, count);
      const Index low = row / a.n_heads;
      const Index high = (row + count - 1) / a.n_heads;
      const Index first = a.window > 0 ? low - a.window + 1 : 0;
      for (Index block = first > 0 ? first / kKeys * kKeys : 0; block <= high; block += kKeys) {
        for (int r = 0; r < count; r += kRows) query_side(a, s, row, count, r, block);
        key_side(a, s, row, count, block);
      }
      finish_rows(a, s, row, count);
    }
    finish_keys(a, s);
  }

  // Keys as rows and values as columns, zero where there is none; dk = dv = 0.
  static void begin_keys(const AttentionBackward& a, const Scratch& s) {
    constexpr int kBlock = kAttentionKeyBlock;
    const Index width = Tile::padded(a.head_dim);
    const Index keys = Tile::round_up(a.n_tokens, kKeys);
    const Vec zero = V::set(0.f);
    for (Index i = 0; i < keys * width; i += kLanes) {
      V::store(s.k + i, zero);
      V::store(s.v + i, zero);
      V::store(s.dk + i, zero);
      V::store(s.dv + i, zero);
    }
    for (Index j = 0; j < a.n_tokens; ++j) {
      const Index block = j / kBlock, lane = j % kBlock;
      const float* key = a.kv.keys(block) + lane;
      const float* value = a.kv.values(block, a.head_dim) + lane * a.head_dim;
      float* columns = s.v + block * kBlock * a.head_dim + lane;
      for (Index d = 0; d < a.head_dim; ++d) {
        s.k[j * width + d] = key[d * kBlock];
        columns[d * kBlock] = value[d];
      }
    }
  }

  static void begin_rows(const AttentionBackward& a, const Scratch& s, Index row, int count) {
    const Index width = Tile::padded(a.head_dim);
    for (int r = 0; r < count; r += kRows) {
      const int n = count - r < kRows ? count - r : kRows;
      Tile::pack_columns(a.q, a.q_stride, a.n_heads, a.head_dim, row + r, n, a.scale * kLog2E,
                         s.q_columns + r * a.head_dim);
      Tile::pack_columns(a.d_out, a.d_out_stride, a.n_heads, a.head_dim, row + r, n, 1.f,
                         s.d_out_columns + r * a.head_dim);
    }
    for (int r = 0; r < count; ++r) {
      const Index t = (row + r) / a.n_heads;
      const Index h = (row + r) % a.n_heads;
      const float* q = a.q + t * a.q_stride + h * a.head_dim;
      const float* out = a.out + t * a.out_stride + h * a.head_dim;
      const float* d_out = a.d_out + t * a.d_out_stride + h * a.head_dim;
      Vec dot = V::set(0.f);
      for (Index d = 0; d < a.head_dim; d += kLanes) {
        const Index left = a.head_dim - d;
        const Vec g = V::load_first(d_out + d, left);
        dot = V::fma(g, V::load_first(out + d, left), dot);
        V::store(s.d_out + r * width + d, g);
        V::store(s.q + r * width + d, V::load_first(q + d, left) * V::set(a.scale));
        V::store(s.dq + r * width + d, V::set(0.f));
      }
      s.delta[r] = V::sum(dot);
      s.lse[r] = a.lse[t * a.lse_stride + h] * kLog2E;
    }
  }

  // p, ds and dq of the rows r .. r+5 of the tile for one block of keys. Rows beyond `count` are
  // computed from zeros and read by nobody.
  static void query_side(const AttentionBackward& a, const Scratch& s, Index row, int count, int r,
                         Index block) {
    const int last = count - r < kRows ? count - 1 : r + kRows - 1;
    const Index low = (row + r) / a.n_heads;
    const Index high = (row + last) / a.n_heads;
    const auto seen = Tile::visible_together(low, high, a.window, block);
    float* p = s.p + r * kKeys;
    float* ds = s.ds + r * kKeys;
    if (seen.end <= seen.begin) {
      for (int i = 0; i < kRows; ++i) clear(0, kKeys, p + i * kKeys, ds + i * kKeys);
      return;
    }
    const auto [begin, end] = Tile::in_score_units(seen);
    const Index keys = block * a.head_dim;
    Tile::template scores<kRows>(a.head_dim, s.q_columns + r * a.head_dim, a.kv.keys(block / kKeys),
                                 begin, end, p);
    Tile::template scores<kRows>(a.head_dim, s.d_out_columns + r * a.head_dim, s.v + keys, begin,
                                 end, ds);
    for (int i = r; i <= last; ++i) {
      const auto range = Tile::visible((row + i) / a.n_heads, a.window, block);
      weigh_row(range, begin, end, s.lse[i], s.delta[i], s.p + i * kKeys, s.ds + i * kKeys);
    }
    const Index width = Tile::padded(a.head_dim);
    Tile::template accumulate<kKeys, 1>(last - r + 1, seen.end - seen.begin, ds + seen.begin,
                                        s.k + (block + seen.begin) * width, width, 0, nullptr,
                                        s.dq + r * width, width, width);
  }

  // Scores become p and <do, v> becomes ds = p * (<do, v> - delta); 0 for keys that are not seen
  // and outside begin .. end-1.
  static void weigh_row(typename Tile::Range seen, int begin, int end, float lse, float delta,
                        float* p, float* ds) {
    const Vec zero = V::set(0.f);
    const bool all = seen.begin <= begin && seen.end >= end;
    for (int i = begin; i < end; i += kLanes) {
      Vec weight = exp2<V>(V::load(p + i) - V::set(lse));
      if (!all) weight = V::keep(weight, seen.begin - i, seen.end - i, zero);
      V::store(p + i, weight);
      V::store(ds + i, weight * (V::load(ds + i) - V::set(delta)));
    }
    clear(0, begin, p, ds);
    clear(end, kKeys, p, ds);
  }

  static void clear(int begin, int end, float* p, float* ds) {
    for (int i = begin; i < end; i += kLanes) {
      V::store(p + i, V::set(0.f));
      V::store(ds + i, V::set(0.f));
    }
  }

  // dk and dv of one block from the tile's p and ds, kRows keys at a time.
  static void key_side(const AttentionBackward& a, const Scratch& s, Index row, int count,
                       Index block) {
    const Index width = Tile::padded(a.head_dim);
    const Index high = (row + count - 1) / a.n_heads;
    const int keys = static_cast<int>(high + 1 - block < kKeys ? high + 1 - block : kKeys);
    for (int j = 0; j < keys; j += kRows) {
      const int n = keys - j < kRows ? keys - j : kRows;
      const Index key = block + j;
      // Rows before the first key, or out of the last one's window, have no part in it.
      Index begin = key * a.n_heads - row;
      if (begin < 0) begin = 0;
      Index end = count;
      if (a.window > 0 && (key + n - 1 + a.window) * a.n_heads - row < end) {
        end = (key + n - 1 + a.window) * a.n_heads - row;
      }
      if (end <= begin) continue;
      const Index at = begin * kKeys + j;
      Tile::template accumulate<1, kKeys>(n, end - begin, s.p + at, s.d_out + begin * width, width,
                                          0, nullptr, s.dv + key * width, width, width);
      Tile::template accumulate<1, kKeys>(n, end - begin, s.ds + at, s.q + begin * width, width, 0,
                                          nullptr, s.dk + key * width, width, width);
    }
  }

  static void finish_rows(const AttentionBackward& a, const Scratch& s, Index row, int count) {
    const Index width = Tile::padded(a.head_dim);
    for (int r = 0; r < count; ++r) {
      const Index t = (row + r) / a.n_heads;
      const Index h = (row + r) % a.n_heads;
      copy_row(s.dq + r * width, a.head_dim, a.scale, a.dq + t * a.dq_stride + h * a.head_dim);
    }
  }

  static void finish_keys(const AttentionBackward& a, const Scratch& s) {
    const Index width = Tile::padded(a.head_dim);
    for (Index j = 0; j < a.n_tokens; ++j) {
      copy_row(s.dk + j * width, a.head_dim, 1.f, a.dk + j * a.dk_stride);
      copy_row(s.dv + j * width, a.head_dim, 1.f, a.dv + j * a.dv_stride);
    }
  }

  static void copy_row(const float* from, Index n, float factor, float* to) {
    for (Index d = 0; d < n; d += kLanes) {
      V::store_first(to + d, V::load(from + d) * V::set(factor), n - d);
    }
  }
};

}  // namespace conclave::kernels
