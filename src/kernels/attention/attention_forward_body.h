// Attention forward over a vector type V: online softmax over blocks of 64 keys (Dao et al. 2022,
// algorithm 1). Scores are kept in powers of two (q is scaled by scale * log2(e)).
//
// Blocks are aligned to absolute positions and each row goes through the same operations whatever
// rows share its tile: a key that the row does not see gets the weight 0, and a block of such keys
// multiplies by exactly 1 and adds exact zeros.
//
// Spans of kAttentionSpan positions start afresh and are merged in order, so that they may be
// computed side by side (flash-decoding, Dao et al. 2023) and give the bits of one after the other.
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
  // Rows of one token that read f16 as two streams: a core of Zen 3 reads one stream at 67 % of its
  // speed while it computes beside, two at 83 (docs/decisions/0014). Not measured with AVX-512.
  static constexpr int kTwoStreamRows = V::kRegisters < 32 ? 4 : 0;
  static constexpr int kPieces = 32;  // of a block, of keys and values in turn

  // What rows hold of the keys so far.
  struct State {
    float* acc;  // [rows][padded Q]
    float* sum;  // [rows][kLanes]: partial sums of the weights
    float* top;  // [rows]: the largest score

    State(float* m, Index rows, int head_dim)
        : acc(m), sum(acc + rows * Tile::padded(head_dim)), top(sum + rows * kLanes) {}
    static Index floats(Index rows, int head_dim) {
      return round_up(rows * (Tile::padded(head_dim) + kLanes + 1));
    }
  };
  static Index round_up(Index floats) { return Tile::round_up(floats, 16); }

  // Where things lie in the scratch memory, in floats.
  struct Layout {
    Index states[2];
    Index p;  // [2][kRows][kKeys]: scores, then weights, of a block and of the one before
    Index q;  // [rows/kRows][Q][kRows]
    Index v;  // [kKeys][padded Q], where Q is no multiple of kLanes or v is narrow
    Index k;  // [Q][kKeys], where k is narrow
    Index total;

    Layout(Index tokens, int n_heads, int head_dim) {
      const Index rows = tokens * n_heads;
      states[0] = 0;
      states[1] = State::floats(rows, head_dim);
      p = 2 * states[1];
      q = p + 2 * kRows * kKeys;
      v = round_up(q + Tile::round_up(rows, kRows) * head_dim);
      k = v + kKeys * Tile::padded(head_dim);
      total = k + kKeys * head_dim;
    }
  };
  struct Scratch {
    State state;
    float *p, *q, *v, *k;
    Scratch(float* m, const Layout& at, const State& s)
        : state(s), p(m + at.p), q(m + at.q), v(m + at.v), k(m + at.k) {}
  };

  static std::int64_t scratch_floats(Index tokens, int n_heads, int head_dim) noexcept {
    return Layout(tokens, n_heads, head_dim).total;
  }
  static std::int64_t state_floats(Index tokens, int n_heads, int head_dim) noexcept {
    return State::floats(tokens * n_heads, head_dim);
  }

  static void forward(const AttentionForward& a, float* memory) noexcept {
    const Layout at(a.n_tokens, a.n_heads, a.head_dim);
    const Index rows = a.n_tokens * a.n_heads;
    const State all(memory + at.states[0], rows, a.head_dim);
    const State part(memory + at.states[1], rows, a.head_dim);
    const Scratch s(memory, at, all);
    pack_queries(a, s, rows);
    Index span = first_span(a);
    add_span(a, s, rows, span);
    const Scratch next(memory, at, part);
    while (++span <= last_span(a)) {
      add_span(a, next, rows, span);
      merge_states(a, rows, part, all);
    }
    for (Index row = 0; row < rows; ++row) finish_row(a, all, row);
  }

  static void forward_span(const AttentionForward& a, std::int64_t span, float* state,
                           float* memory) noexcept {
    const Index rows = a.n_tokens * a.n_heads;
    const Layout at(a.n_tokens, a.n_heads, a.head_dim);
    const Scratch s(memory, at, State(state, rows, a.head_dim));
    pack_queries(a, s, rows);
    add_span(a, s, rows, span);
  }

  static void merge_spans(const AttentionForward& a, float* states, std::int64_t count) noexcept {
    const Index rows = a.n_tokens * a.n_heads;
    const Index step = State::floats(rows, a.head_dim);
    const State all(states, rows, a.head_dim);
    for (Index i = 1; i < count; ++i) {
      merge_states(a, rows, State(states + i * step, rows, a.head_dim), all);
    }
    for (Index row = 0; row < rows; ++row) finish_row(a, all, row);
  }

  static void to_half(const float* from, f16* to, std::int64_t n) noexcept {
    const auto rounded = [](Vec v) { return V::min(V::set(65504.f), V::max(V::set(-65504.f), v)); };
    for (; n >= kLanes; n -= kLanes, from += kLanes, to += kLanes) {
      V::store_half(to, rounded(V::load(from)));
    }
    f16 rest[kLanes];
    V::store_half(rest, rounded(V::load_first(from, n)));
    for (Index i = 0; i < n; ++i) to[i] = rest[i];
  }

  static void to_q8(const float* from, std::int8_t* to, f16* scales, std::int64_t n) noexcept {
    constexpr int kVectors = kKvScaleGroup / kLanes;
    for (; n > 0; n -= kKvScaleGroup, from += kKvScaleGroup, to += kKvScaleGroup) {
      Vec x[kVectors], largest = V::set(0.f), zero = V::set(0.f);
#pragma GCC unroll 4
      for (int i = 0; i < kVectors; ++i) {
        const Index at = Index{kLanes} * i;
        x[i] = V::load_first(from + (n > at ? at : 0), n - at);
        largest = V::max(V::max(x[i], -x[i]), largest);
        zero = zero + x[i] * V::set(0.f);
      }
      const bool finite = V::sum(zero) == 0;
      f16 rounded[kLanes];
      V::store_half(rounded, V::min(V::set(V::top(largest) * (1 / 127.f)), V::set(65504.f)));
      const float scale = V::first_lane(V::load_half(rounded));
      *scales++ = finite ? rounded[0] : f16{0x7e00};
      const Vec inverse = V::set(scale > 0 ? 1 / scale : 0.f);
      std::int8_t part[kKvScaleGroup];
      std::int8_t* const whole = n >= kKvScaleGroup ? to : part;
#pragma GCC unroll 4
      for (int i = 0; i < kVectors; ++i) {
        const Vec limited = V::max(V::set(-127.f), V::min(V::set(127.f), x[i] * inverse));
        V::store_bytes(whole + i * kLanes, limited);
      }
      for (Index i = 0; n < kKvScaleGroup && i < n; ++i) to[i] = part[i];
    }
  }

  // The keys of one span, alone, into the state of `s`.
  static void add_span(const AttentionForward& a, const Scratch& s, Index rows, Index span) {
    begin_rows(a, s.state, rows);
    const bool whole = a.head_dim % kLanes == 0;
    const Index begin = span * kAttentionSpan, end = begin + kAttentionSpan - 1;
    const Index seen = first_key(a), newest = a.first_position + a.n_tokens - 1;
    const Index first = seen > begin ? seen : begin;
    const Index last = newest < end ? newest : end;
    if (a.kv_half.blocks != nullptr && whole && a.n_tokens == 1 && rows <= kTwoStreamRows) {
      Tile::with_rows(static_cast<int>(rows), [&]<int R>() {
        if constexpr (R <= kTwoStreamRows) add_in_two_streams<R>(a, s, first, last);
      });
      return;
    }
    for (Index block = first / kKeys * kKeys; block <= last; block += kKeys) {
      const Index keys = last + 1 - block < kKeys ? last + 1 - block : kKeys;
      const Index i = block / kKeys;
      if (a.kv_q8.blocks != nullptr && whole && rows <= kDirectRows) {
        add_rows(a, s, rows, block,
                 typename Tile::Q8Keys{a.kv_q8.keys(i), a.kv_q8.key_scales(i, a.head_dim)},
                 direct_values(a, s, i), 0);
      } else if (a.kv_q8.blocks != nullptr) {
        add_rows(a, s, rows, block, copy_keys(a, s, i), copy_values(a, s, i, keys), 0);
      } else if (a.kv_half.blocks == nullptr) {
        const float* values = a.kv.values(i, a.head_dim);
        add_rows(a, s, rows, block, a.kv.keys(i), whole ? values : copy_values(a, s, values, keys),
                 0);
      } else if (whole && rows <= kDirectRows) {
        // Little is used twice: converted on the way into the products.
        const f16* values = a.kv_half.values(i, a.head_dim);
        const f16* next = block + kKeys <= last ? a.kv_half.keys(i + 1) : values;
        add_rows(a, s, rows, block, a.kv_half.keys(i), values, bytes_between(values, next));
      } else {
        add_rows(a, s, rows, block, copy_keys(a, s, a.kv_half.keys(i)),
                 copy_values(a, s, a.kv_half.values(i, a.head_dim), keys), 0);
      }
    }
  }

  // A block whose keys are weighed and whose values are yet to be added.
  struct WeighedBlock {
    const f16* values = nullptr;     // [kKeys][Q]
    const float* weights = nullptr;  // [rows][kKeys]
    typename Tile::Range seen = {0, 0};
    float factor[kRows] = {};
  };

  // Keys first .. last of f16, one at least, into the R rows of a token, which sees them all: the
  // values of a block are added while the scores of the next are made. The operations of a block
  // are those of add_block, in its order.
  template <int R>
  static void add_in_two_streams(const AttentionForward& a, const Scratch& s, Index first,
                                 Index last) {
    const Index width = a.head_dim;
    WeighedBlock before;
    const auto add_values = [&] {
      const Index begin = before.seen.begin;
      Tile::template accumulate_rows<R, kKeys, 1>(before.seen.end - begin, before.weights + begin,
                                                  before.values + begin * width, width, 0,
                                                  before.factor, s.state.acc, width, width);
    };
    for (Index i = first / kKeys; i <= last / kKeys; ++i) {
      const Index block = i * kKeys;
      const auto seen = Tile::visible(a.first_position, a.window, block, a.first_key);
      const auto [begin, end] = Tile::in_score_units(seen);
      Scratch now = s;
      now.p += i % 2 * kRows * kKeys;
      const f16* keys = a.kv_half.keys(i);
      if (before.values != nullptr && is_whole(seen) && is_whole(before.seen)) {
        const f16* next = i < last / kKeys ? a.kv_half.keys(i + 1) : keys;
        score_beside_values<R>(now, keys, next, before, width);
      } else {
        if (before.values != nullptr) add_values();
        Tile::template scores<R>(a.head_dim, s.q, keys, begin, end, now.p);
      }
      weigh(a, now, 0, R, block, begin, end, before.factor);
      before.values = a.kv_half.values(i, a.head_dim);
      before.weights = now.p;
      before.seen = seen;
    }
    add_values();
  }
  static bool is_whole(typename Tile::Range seen) { return seen.begin == 0 && seen.end == kKeys; }

  // The scores of a block's keys, to now.p, and the values of the block before, a piece of each in
  // turn. Asks for the values that lie behind the keys and for the next block's keys: for the head
  // of each, which the processor does not expect, and where several rows share them for all.
  template <int R>
  static void score_beside_values(const Scratch& now, const f16* keys, const f16* next,
                                  const WeighedBlock& before, Index width) {
    constexpr Index kLine = 64 / sizeof(f16), kPieceKeys = kKeys / kPieces;
    const Index lines =
        R == 1 ? 1 : Tile::round_up(width * kKeys, kLine * kPieces) / kLine / kPieces;
    const f16 *value_line = keys + width * kKeys, *next_line = next, *values = before.values;
    float* const acc = now.state.acc;
    for (int r = 0; r < R; ++r) {
      const Vec factor = V::set(before.factor[r]);
      for (Index d = r * width; d < (r + 1) * width; d += kLanes) {
        V::store(acc + d, V::load(acc + d) * factor);
      }
    }
    for (int i = 0; i < R * kKeys; i += kLanes) V::store(now.p + i, V::set(0.f));
    for (int piece = 0; piece < kPieces; ++piece, values += kPieceKeys * width) {
      for (Index i = 0; i < lines; ++i, value_line += kLine, next_line += kLine) {
        __builtin_prefetch(value_line);
        __builtin_prefetch(next_line);
      }
      const Index d = width * piece / kPieces, d_end = width * (piece + 1) / kPieces;
      Tile::template accumulate_rows<R, 1, kRows>(d_end - d, now.q + d * kRows, keys + d * kKeys,
                                                  kKeys, 0, nullptr, now.p, kKeys, kKeys);
      Tile::template accumulate_rows<R, kKeys, 1>(kPieceKeys, before.weights + kPieceKeys * piece,
                                                  values, width, 0, nullptr, acc, width, width);
    }
  }

  // all = all and part: every row's weights in terms of the larger of both largest scores.
  static void merge_states(const AttentionForward& a, Index rows, const State& part,
                           const State& all) {
    const Index width = Tile::padded(a.head_dim);
    for (Index row = 0; row < rows; ++row) {
      const Vec old_top = V::set(all.top[row]), part_top = V::set(part.top[row]);
      const Vec top = V::max(old_top, part_top);
      const Vec f = exp2<V>(old_top - top), g = exp2<V>(part_top - top);
      float* acc = all.acc + row * width;
      const float* from = part.acc + row * width;
      for (Index d = 0; d < width; d += kLanes) {
        V::store(acc + d, V::fma(V::load(from + d), g, V::load(acc + d) * f));
      }
      float* sum = all.sum + row * kLanes;
      V::store(sum, V::fma(V::load(part.sum + row * kLanes), g, V::load(sum) * f));
      V::store_first(all.top + row, top, 1);
    }
  }

  static Index bytes_between(const f16* from, const f16* to) {
    return static_cast<Index>(reinterpret_cast<std::uintptr_t>(to) -
                              reinterpret_cast<std::uintptr_t>(from));
  }

  static void pack_queries(const AttentionForward& a, const Scratch& s, Index rows) {
    constexpr float kLog2E = 1.4426950408889634f;
    for (Index row = 0; row < rows; row += kRows) {
      const int count = static_cast<int>(rows - row < kRows ? rows - row : kRows);
      Tile::pack_columns(a.q, a.q_stride, a.n_heads, a.head_dim, row, count, a.scale * kLog2E,
                         s.q + row * a.head_dim);
    }
  }

  static void begin_rows(const AttentionForward& a, const State& s, Index rows) {
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

  // Of block i in Q8_0.
  static typename Tile::Q8Values direct_values(const AttentionForward& a, const Scratch& s,
                                               Index i) {
    const Index groups = kv_scale_groups(a.head_dim);
    const f16* from = a.kv_q8.value_scales(i, a.head_dim);
    for (Index at = 0; at < groups * kKeys; at += kLanes) {
      V::store(s.v + at, V::load_half(from + at));
    }
    return {a.kv_q8.values(i, a.head_dim), s.v, groups, 0};
  }
  static const float* copy_keys(const AttentionForward& a, const Scratch& s, Index i) {
    constexpr int kVectors = kKeys / kLanes;
    const std::int8_t* from = a.kv_q8.keys(i);
    const f16* scales = a.kv_q8.key_scales(i, a.head_dim);
    float* to = s.k;
    for (Index left = a.head_dim; left > 0; left -= kKvScaleGroup, scales += kKeys) {
      Vec scale[kVectors];
#pragma GCC unroll 8
      for (int c = 0; c < kVectors; ++c) scale[c] = V::load_half(scales + c * kLanes);
      const Index group = left < kKvScaleGroup ? left : kKvScaleGroup;
      for (Index d = 0; d < group; ++d, from += kKeys, to += kKeys) {
#pragma GCC unroll 8
        for (int c = 0; c < kVectors; ++c) {
          V::store(to + c * kLanes, V::load_bytes(from + c * kLanes) * scale[c]);
        }
      }
    }
    return s.k;
  }
  static const float* copy_values(const AttentionForward& a, const Scratch& s, Index i,
                                  Index keys) {
    const Index width = Tile::padded(a.head_dim), groups = kv_scale_groups(a.head_dim);
    const std::int8_t* from = a.kv_q8.values(i, a.head_dim);
    const f16* scales = a.kv_q8.value_scales(i, a.head_dim);
    for (Index j = 0; j < keys; ++j, from += a.head_dim) {
      float* const to = s.v + j * width;
      for (Index g = 0; g < groups; ++g) {
        // Loads past the scales, into the values behind them.
        const Vec scale = V::set(V::first_lane(V::load_half(scales + j * groups + g)));
        const Index d = g * kKvScaleGroup,
                    end = d + kKvScaleGroup < width ? d + kKvScaleGroup : width;
        for (Index at = d; at < end; at += kLanes) {
          V::store(to + at, Tile::load_first(from + at, a.head_dim - at) * scale);
        }
      }
    }
    return s.v;
  }

  // Takes the keys of one block into all rows: floats, f16, of which the next block's keys lie
  // `ahead` bytes behind the values, or Q8_0.
  template <class Keys, class Values>
  static void add_rows(const AttentionForward& a, const Scratch& s, Index rows, Index block,
                       Keys keys, Values values, Index ahead) {
    for (Index row = 0; row < rows; row += kRows) {
      add_block(a, s, row, rows, block, keys, values, ahead);
    }
  }

  // Takes the keys of one block into up to kRows rows.
  template <class Keys, class Values>
  static void add_block(const AttentionForward& a, const Scratch& s, Index row, Index rows,
                        Index block, Keys keys, Values values, Index ahead) {
    const int count = static_cast<int>(rows - row < kRows ? rows - row : kRows);
    const Index low = a.first_position + row / a.n_heads;
    const Index high = a.first_position + (row + count - 1) / a.n_heads;
    const auto seen = Tile::visible_together(low, high, a.window, block, a.first_key);
    if (seen.end <= seen.begin) return;
    const auto [begin, end] = Tile::in_score_units(seen);
    Tile::with_rows(count, [&]<int R>() {
      Tile::template scores<R>(a.head_dim, s.q + row * a.head_dim, keys, begin, end, s.p);
    });
    float factor[kRows];
    weigh(a, s, row, count, block, begin, end, factor);
    const Index width = Tile::padded(a.head_dim);
    Tile::template accumulate<kKeys, 1>(count, seen.end - seen.begin, s.p + seen.begin,
                                        Tile::skip_rows(values, seen.begin, width), width, ahead,
                                        factor, s.state.acc + row * width, width, width);
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
    const Vec old_top = V::load_first(s.state.top + row, count);
    const Vec new_top = V::max(V::load_first(block_top, count), old_top);
    V::store_first(s.state.top + row, new_top, count);
    V::store_first(factor, exp2<V>(old_top - new_top), count);
    for (int r = 0; r < count; ++r) {
      const Vec top = V::set(s.state.top[row + r]);
      float* p = s.p + r * kKeys;
      float* sum = s.state.sum + (row + r) * kLanes;
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

  static void finish_row(const AttentionForward& a, const State& s, Index row) {
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
