// Attention backward (Dao et al. 2022, algorithm 4) whose products are made by the kernels of
// kernels/matmul: the scores in f32, because the weights p = exp(s - lse) must add up to what the
// forward pass saw; the four other products, do v^T, ds k, ds^T q and p^T do, in a faster type.
//
//   for each head, for each chunk of 256 tokens, for each block of 64 keys that the chunk sees:
//     scores and do v^T  ->  p and ds  ->  dq of the chunk, dk and dv of the block
//
// so that every sum runs in one order: over keys for dq, over heads, then tokens, for dk and dv.
// Only what lies below the diagonal is computed, in steps of a tile's rows.
//
// Everything is a member of a template over V, and of MatmulKernels only fields are used: a
// function shared with code of another instruction set could be merged with it by the linker.
#pragma once

#include "kernels/attention/attention.h"
#include "kernels/matmul/matmul_kernels.h"
#include "kernels/simd/simd.h"

namespace conclave::kernels {

template <class V>
struct AttentionBackwardProducts {
  using Vec = typename V::Vec;
  static constexpr Index kKeys = kAttentionKeyBlock;
  static constexpr Index kChunk = 256;
  static constexpr Index kGroup = 16;  // keys that are packed together
  static constexpr Index kLine = 64;
  static constexpr float kLog2E = 1.4426950408889634f;

  static Index least(Index a, Index b) { return a < b ? a : b; }
  static Index ceil_div(Index a, Index b) { return (a + b - 1) / b; }
  static Index lines(Index bytes) { return ceil_div(bytes, kLine) * kLine; }
  static Index units(const MatmulKernels& m, Index k) { return ceil_div(k, m.unit); }
  static Index panel_bytes(const MatmulKernels& m, Index k) {
    return units(m, k) * m.panel * m.right_bytes;
  }
  static Index right_bytes(const MatmulKernels& m, Index n, Index k) {
    return ceil_div(n, m.panel) * panel_bytes(m, k);
  }
  static Index tile_bytes(const MatmulKernels& m, Index k) {
    return lines(m.rows * units(m, k) * m.left_bytes + MatmulKernels::kLeftSlack);
  }

  // Where things lie in the scratch memory, in bytes.
  struct Layout {
    Index k_scores;    // of a block of keys: [keys] columns of Q products, f32
    Index v;           // the same of the values
    Index k;           // [Q] columns of 64 products
    Index q_left;      // rows of the chunk, f32
    Index d_out_left;  // rows of the chunk
    Index q, d_out;    // [Q] columns of 256 products
    Index p, ds;       // [256][64] floats
    Index tile;        // a left tile of 256 products
    Index lse, delta;  // [256] floats, lse times log2(e)
    Index total;
    Index k_scores_block, v_block, k_block;  // bytes of one block of keys

    Layout(const MatmulKernels& scores, const MatmulKernels& products, Index tokens, Index width) {
      const Index blocks = ceil_div(tokens, kKeys);
      k_scores_block = lines(right_bytes(scores, kKeys, width));
      v_block = lines(right_bytes(products, kKeys, width));
      k_block = lines(right_bytes(products, width, kKeys));
      Index at = 0;
      const auto take = [&at](Index bytes) {
        const Index begin = at;
        at += lines(bytes);
        return begin;
      };
      k_scores = take(blocks * k_scores_block);
      v = take(blocks * v_block);
      k = take(blocks * k_block);
      q_left = take(ceil_div(kChunk, scores.rows) * tile_bytes(scores, width));
      d_out_left = take(ceil_div(kChunk, products.rows) * tile_bytes(products, width));
      q = take(right_bytes(products, width, kChunk));
      d_out = take(right_bytes(products, width, kChunk));
      p = take(kChunk * kKeys * 4);
      ds = take(kChunk * kKeys * 4);
      tile = take(tile_bytes(products, kChunk));
      lse = take(kChunk * 4);
      delta = take(kChunk * 4);
      total = at;
    }
  };

  // One call's arguments and memory.
  struct Call {
    const AttentionBackward& a;
    const MatmulKernels& scores;
    const MatmulKernels& products;
    Layout at;
    char* memory;

    char* bytes(Index offset) const { return memory + offset; }
    float* floats(Index offset) const { return reinterpret_cast<float*>(memory + offset); }
  };

  // Tokens c0 .. c0 + rows - 1 of one head.
  struct Chunk {
    Index head, c0, rows;
  };
  // Rows or keys begin .. begin + count - 1 of a tile.
  struct Part {
    Index begin, count;
  };
  static Part part_of(Index count, Index most, Index tile) {
    const Index tiles = ceil_div(count, most);
    const Index begin = count * tile / tiles;
    return {begin, count * (tile + 1) / tiles - begin};
  }

  static std::int64_t scratch_floats(std::int64_t n_tokens, int head_dim,
                                     const MatmulKernels& scores,
                                     const MatmulKernels& products) noexcept {
    return Layout(scores, products, n_tokens, head_dim).total / 4;
  }

  static void backward(const AttentionBackward& a, const MatmulKernels& scores,
                       const MatmulKernels& products, float* scratch) noexcept {
    const Call call{a, scores, products, Layout(scores, products, a.n_tokens, a.head_dim),
                    reinterpret_cast<char*>(scratch)};
    for (Index block = 0; block < a.n_tokens; block += kKeys) pack_keys(call, block);
    for (Index head = 0; head < a.n_heads; ++head) {
      for (Index c0 = 0; c0 < a.n_tokens; c0 += kChunk) {
        const Chunk chunk{head, c0, least(kChunk, a.n_tokens - c0)};
        begin_rows(call, chunk);
        for (Index block = 0; block < c0 + chunk.rows; block += kKeys) {
          weights(call, chunk, block);
          query_gradient(call, chunk, block);
          key_gradients(call, chunk, block);
        }
      }
    }
  }

  static Index keys_of(const AttentionBackward& a, Index block) {
    return least(kKeys, a.n_tokens - block);
  }

  // The three forms of a block of keys and values. Keys that are not there are zeros where they are
  // products; as columns nobody reads them.
  static void pack_keys(const Call& call, Index block) {
    const AttentionBackward& a = call.a;
    const Index width = a.head_dim;
    const Index keys = keys_of(a, block);
    const Index place = block / kKeys;
    float* columns = call.floats(call.at.k_scores + place * call.at.k_scores_block);
    char* rows = call.bytes(call.at.k + place * call.at.k_block);
    const MatmulKernels& m = call.products;
    if (keys < kKeys) {
      for (Index i = 0; i < call.at.k_block; ++i) rows[i] = 0;
    }
    for (Index j = 0; j < keys; j += kGroup) {
      const float* source = a.kv.keys(place) + j;  // [Q][64]
      pack_score_columns(call.scores.panel, source, width, j, columns);
      for (Index d = 0; d < width; d += m.panel) {
        m.right_by_rows(source + d * kKeys, kKeys, least(m.panel, width - d),
                        least(kGroup, keys - j),
                        rows + d / m.panel * panel_bytes(m, kKeys) + panel_bytes(m, j));
      }
    }
    char* values = call.bytes(call.at.v + place * call.at.v_block);
    for (Index j = 0; j < keys; j += m.panel) {
      m.right_by_rows(a.kv.values(place, a.head_dim) + j * width, width, least(m.panel, keys - j),
                      width, values + j / m.panel * panel_bytes(m, width));
    }
  }

  // 16 keys, stored as columns already, into panels of f32.
  static void pack_score_columns(Index panel, const float* source, Index width, Index j,
                                 float* columns) {
    if (panel % kGroup == 0) {
      float* to = columns + j / panel * panel * width + j % panel;
      for (Index d = 0; d < width; ++d, source += kKeys, to += panel) {
        for (Index i = 0; i < kGroup; i += V::kLanes) V::store(to + i, V::load(source + i));
      }
      return;
    }
    for (Index d = 0; d < width; ++d) {
      for (Index i = 0; i < kGroup; ++i) {
        const Index key = j + i;
        columns[key / panel * panel * width + d * panel + key % panel] = source[d * kKeys + i];
      }
    }
  }

  static void begin_rows(const Call& call, const Chunk& chunk) {
    const AttentionBackward& a = call.a;
    const Index width = a.head_dim;
    const float* q = a.q + chunk.c0 * a.q_stride + chunk.head * width;
    const float* d_out = a.d_out + chunk.c0 * a.d_out_stride + chunk.head * width;
    pack_left(call.scores, q, a.q_stride, chunk.rows, width, call.bytes(call.at.q_left));
    pack_left(call.products, d_out, a.d_out_stride, chunk.rows, width,
              call.bytes(call.at.d_out_left));
    const MatmulKernels& m = call.products;
    for (Index d = 0; d < width; d += m.panel) {
      const Index count = least(m.panel, width - d);
      const Index place = d / m.panel * panel_bytes(m, kChunk);
      m.right_by_columns(q + d, a.q_stride, count, chunk.rows, call.bytes(call.at.q) + place);
      m.right_by_columns(d_out + d, a.d_out_stride, count, chunk.rows,
                         call.bytes(call.at.d_out) + place);
    }
    const float* out = a.out + chunk.c0 * a.out_stride + chunk.head * width;
    const float* lse = a.lse + chunk.c0 * a.lse_stride + chunk.head;
    for (Index r = 0; r < chunk.rows; ++r) {
      Vec dot = V::set(0.f);
      for (Index d = 0; d < width; d += V::kLanes) {
        dot = V::fma(V::load_first(d_out + r * a.d_out_stride + d, width - d),
                     V::load_first(out + r * a.out_stride + d, width - d), dot);
      }
      call.floats(call.at.delta)[r] = V::sum(dot);
      call.floats(call.at.lse)[r] = lse[r * a.lse_stride] * kLog2E;
    }
  }

  static void pack_left(const MatmulKernels& m, const float* x, Index stride, Index rows, Index k,
                        char* packed) {
    const Index tiles = ceil_div(rows, m.rows);
    for (Index tile = 0; tile < tiles; ++tile) {
      const Part part = part_of(rows, m.rows, tile);
      m.left_by_rows(x + part.begin * stride, stride, part.count, k,
                     packed + tile * tile_bytes(m, k));
    }
  }

  // Keys of the block that a tile of rows that ends at `end` sees: none where it is above it.
  static Index keys_seen(const Call& call, const Chunk& chunk, Index block, Index end) {
    return least(keys_of(call.a, block), chunk.c0 + end - block);
  }

  // p and ds of the chunk's rows and one block of keys.
  static void weights(const Call& call, const Chunk& chunk, Index block) {
    const Index place = block / kKeys;
    const Index first =
        multiply_rows(call, call.scores, chunk, block, call.at.q_left,
                      call.at.k_scores + place * call.at.k_scores_block, call.floats(call.at.p));
    const Index also = multiply_rows(call, call.products, chunk, block, call.at.d_out_left,
                                     call.at.v + place * call.at.v_block, call.floats(call.at.ds));
    const float* lse = call.floats(call.at.lse);
    const float* delta = call.floats(call.at.delta);
    for (Index r = least(first, also); r < chunk.rows; ++r) {
      const Index seen = least(keys_of(call.a, block), chunk.c0 + r + 1 - block);
      weigh_row(seen, call.a.scale, lse[r], delta[r], call.floats(call.at.p) + r * kKeys,
                call.floats(call.at.ds) + r * kKeys);
    }
  }

  // y[row][key] of the tiles that see the block; returns the first row of them.
  static Index multiply_rows(const Call& call, const MatmulKernels& m, const Chunk& chunk,
                             Index block, Index left, Index right, float* y) {
    const Index width = call.a.head_dim;
    const Index tiles = ceil_div(chunk.rows, m.rows);
    Index first = chunk.rows;
    for (Index tile = 0; tile < tiles; ++tile) {
      const Part part = part_of(chunk.rows, m.rows, tile);
      const Index keys = keys_seen(call, chunk, block, part.begin + part.count);
      if (keys <= 0) continue;
      first = least(first, part.begin);
      m.product({call.bytes(left) + tile * tile_bytes(m, width), call.bytes(right), units(m, width),
                 part.count, keys, y + part.begin * kKeys, kKeys, false});
    }
    return first;
  }

  // Scores become p, and <do, v> becomes ds = scale * p * (<do, v> - delta); 0 from `seen` on,
  // whatever was there.
  static void weigh_row(Index seen, float scale, float lse, float delta, float* p, float* ds) {
    const Vec zero = V::set(0.f);
    for (Index i = 0; i < kKeys; i += V::kLanes) {
      if (seen <= i) {
        V::store(p + i, zero);
        V::store(ds + i, zero);
        continue;
      }
      const Vec weight = exp2<V>(V::fma(V::load(p + i), V::set(scale * kLog2E), V::set(-lse)));
      const Vec slope = weight * (V::load(ds + i) - V::set(delta)) * V::set(scale);
      const bool all = seen >= i + V::kLanes;
      V::store(p + i, all ? weight : V::keep(weight, 0, seen - i, zero));
      V::store(ds + i, all ? slope : V::keep(slope, 0, seen - i, zero));
    }
  }

  // dq = (or +=) ds k.
  static void query_gradient(const Call& call, const Chunk& chunk, Index block) {
    const AttentionBackward& a = call.a;
    const MatmulKernels& m = call.products;
    const char* right = call.bytes(call.at.k + block / kKeys * call.at.k_block);
    char* left = call.bytes(call.at.tile);
    for (Index tile = 0; tile < ceil_div(chunk.rows, m.rows); ++tile) {
      const Part part = part_of(chunk.rows, m.rows, tile);
      const Index keys = keys_seen(call, chunk, block, part.begin + part.count);
      if (keys <= 0) continue;
      m.left_by_rows(call.floats(call.at.ds) + part.begin * kKeys, kKeys, part.count, keys, left);
      float* dq = a.dq + (chunk.c0 + part.begin) * a.dq_stride + chunk.head * a.head_dim;
      for (Index d = 0; d < a.head_dim; d += m.panel) {
        m.product({left, right + d / m.panel * panel_bytes(m, kKeys), units(m, keys), part.count,
                   least(m.panel, a.head_dim - d), dq + d, a.dq_stride, block > 0});
      }
    }
  }

  // dv = (or +=) p^T do and dk = (or +=) ds^T q, over the rows that see a tile's first key.
  static void key_gradients(const Call& call, const Chunk& chunk, Index block) {
    const AttentionBackward& a = call.a;
    const Index keys = keys_of(a, block);
    const Index tiles = ceil_div(keys, call.products.rows);
    const bool accumulate = chunk.head > 0 || block < chunk.c0;
    for (Index tile = 0; tile < tiles; ++tile) {
      const Part part = part_of(keys, call.products.rows, tile);
      Index row = block + part.begin - chunk.c0;
      row = row > 0 ? row / call.products.unit * call.products.unit : 0;
      key_gradient(call, chunk, part, row, call.at.p, call.at.d_out, accumulate,
                   a.dv + (block + part.begin) * a.dv_stride, a.dv_stride);
      key_gradient(call, chunk, part, row, call.at.ds, call.at.q, accumulate,
                   a.dk + (block + part.begin) * a.dk_stride, a.dk_stride);
    }
  }

  static void key_gradient(const Call& call, const Chunk& chunk, Part part, Index row, Index left,
                           Index right, bool accumulate, float* y, Index y_stride) {
    const MatmulKernels& m = call.products;
    const Index width = call.a.head_dim;
    const Index count = chunk.rows - row;
    m.left_by_columns(call.floats(left) + row * kKeys + part.begin, kKeys, part.count, count,
                      call.bytes(call.at.tile));
    for (Index d = 0; d < width; d += m.panel) {
      const char* panel = call.bytes(right) + d / m.panel * panel_bytes(m, kChunk);
      m.product({call.bytes(call.at.tile), panel + panel_bytes(m, row), units(m, count), part.count,
                 least(m.panel, width - d), y + d, y_stride, accumulate});
    }
  }
};

}  // namespace conclave::kernels
