// The body of the matrix product kernels, written once over a vector type V, and instantiated by
// the file of each instruction set. V lives in that file's anonymous namespace, so every
// instantiation is local to it: nothing here can be merged with code compiled for another set, and
// for the same reason nothing here calls a function of another header.
//
// V provides (Vec is a vector of kLanes units of 32 bits):
//   kLanes, kVectors (Vecs in a panel row), kRows (rows of a left tile), kUnit, kRegisters
//   Left, Right            stored units
//   row_units(p, n)        units of kLanes * kUnit elements in a row, of which n are there
//   column_units(p, s, r, n)  kUnit rows s apart, r of them there, n <= kLanes columns there
//   transpose(Vec[kLanes]), store_left(Left*, Vec), store_right(Right*, Vec)
//   load_right(const Right*), broadcast(const Left*), madd(acc, left, right)
//   store(float* y, acc, n), store_sum(float* y, acc, n)   n columns, n may be above kLanes
#pragma once

#include "kernels/matmul/matmul_list.h"

namespace conclave::kernels {
namespace {

using Index = std::int64_t;

template <class V>
struct LeftSide {
  using Unit = typename V::Left;
  static void put(Unit* p, typename V::Vec v) { V::store_left(p, v); }
};
template <class V>
struct RightSide {
  using Unit = typename V::Right;
  static void put(Unit* p, typename V::Vec v) { V::store_right(p, v); }
};

// count <= kLanes rows of source, k elements each, into columns of units `width` apart. Always
// stores whole vectors, so what lies right of `count` must be written later or be slack.
template <class V, class Side, class T>
void pack_rows(const T* source, Index stride, Index count, Index k, typename Side::Unit* packed,
               Index width) {
  constexpr Index kStep = Index{V::kLanes} * V::kUnit;
  const Index units = (k + V::kUnit - 1) / V::kUnit;
  for (Index k0 = 0, u0 = 0; k0 < k; k0 += kStep, u0 += V::kLanes) {
    typename V::Vec block[V::kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < V::kLanes; ++i) {
      block[i] = V::row_units(source + (i < count ? i : 0) * stride + k0, i < count ? k - k0 : 0);
    }
    V::transpose(block);
    if (u0 + V::kLanes <= units) {
#pragma GCC unroll 16
      for (int i = 0; i < V::kLanes; ++i) Side::put(packed + (u0 + i) * width, block[i]);
    } else {
      for (Index i = 0; u0 + i < units; ++i) Side::put(packed + (u0 + i) * width, block[i]);
    }
  }
}

// k rows of source, count <= kLanes columns of them, likewise.
template <class V, class Side, class T>
void pack_columns(const T* source, Index stride, Index count, Index k, typename Side::Unit* packed,
                  Index width) {
  const Index whole = k / V::kUnit;
  for (Index u = 0; u < whole; ++u) {
    const T* rows = source + u * V::kUnit * stride;
    Side::put(packed + u * width, V::column_units(rows, stride, V::kUnit, count));
  }
  if (k % V::kUnit != 0) {
    const T* rows = source + whole * V::kUnit * stride;
    Side::put(packed + whole * width, V::column_units(rows, stride, k % V::kUnit, count));
  }
}

template <class V, class T>
void right_by_rows(const T* source, Index stride, Index count, Index k, void* packed) noexcept {
  constexpr Index kPanel = Index{V::kLanes} * V::kVectors;
  auto* panel = static_cast<typename V::Right*>(packed);
  for (Index j = 0; j < kPanel; j += V::kLanes) {
    const Index left = count > j ? count - j : 0;
    pack_rows<V, RightSide<V>>(source + (left > 0 ? j : 0) * stride, stride,
                               left < V::kLanes ? left : V::kLanes, k, panel + j, kPanel);
  }
}

template <class V, class T>
void right_by_columns(const T* source, Index stride, Index count, Index k, void* packed) noexcept {
  constexpr Index kPanel = Index{V::kLanes} * V::kVectors;
  auto* panel = static_cast<typename V::Right*>(packed);
  for (Index j = 0; j < kPanel; j += V::kLanes) {
    const Index left = count > j ? count - j : 0;
    pack_columns<V, RightSide<V>>(source + (left > 0 ? j : 0), stride,
                                  left < V::kLanes ? left : V::kLanes, k, panel + j, kPanel);
  }
}

// Calls body(first row, rows) for the tiles of a left block: sizes differ by at most one, so that
// no tile is too small to keep the multipliers busy.
template <class V, class Body>
void for_each_tile(Index rows, const Body& body) {
  const Index tiles = (rows + V::kRows - 1) / V::kRows;
  for (Index t = 0; t < tiles; ++t) {
    const Index begin = rows * t / tiles;
    body(begin, rows * (t + 1) / tiles - begin);
  }
}

template <class V>
void left_by_rows(const float* source, Index stride, Index count, Index k, void* packed) noexcept {
  auto* left = static_cast<typename V::Left*>(packed);
  const Index units = (k + V::kUnit - 1) / V::kUnit;
  for_each_tile<V>(count, [&](Index row, Index m) {
    pack_rows<V, LeftSide<V>>(source + row * stride, stride, m, k, left + row * units, m);
  });
}

template <class V>
void left_by_columns(const float* source, Index stride, Index count, Index k,
                     void* packed) noexcept {
  auto* left = static_cast<typename V::Left*>(packed);
  const Index units = (k + V::kUnit - 1) / V::kUnit;
  for_each_tile<V>(count, [&](Index row, Index m) {
    pack_columns<V, LeftSide<V>>(source + row, stride, m, k, left + row * units, m);
  });
}

template <class V>
using TileProduct = void (*)(const typename V::Left* left, const typename V::Right* right,
                             Index units, float* y, Index y_stride, Index n, bool accumulate);

// One tile of M rows times P panels, all sums in registers.
template <class V, int M, int P>
void tile_product(const typename V::Left* left, const typename V::Right* right, Index units,
                  float* y, Index y_stride, Index n, bool accumulate) {
  constexpr int kPanel = V::kLanes * V::kVectors;
  constexpr int kColumns = P * V::kVectors;
  typename V::Acc sum[M][kColumns];
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kColumns; ++j) sum[i][j] = V::zero();
  }
  const Index next_panel = units * kPanel;
  for (Index u = 0; u < units; ++u) {
    typename V::Vec r[kColumns];
#pragma GCC unroll 16
    for (int j = 0; j < kColumns; ++j) {
      r[j] = V::load_right(right + (j / V::kVectors) * next_panel + (j % V::kVectors) * V::kLanes);
    }
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i) {
      const typename V::Vec l = V::broadcast(left + i);
#pragma GCC unroll 16
      for (int j = 0; j < kColumns; ++j) sum[i][j] = V::madd(sum[i][j], l, r[j]);
    }
    left += M;
    right += kPanel;
  }
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kColumns; ++j) {
      float* out = y + i * y_stride + j * V::kLanes;
      const Index columns = n - j * V::kLanes;
      if (columns <= 0) break;
      if (accumulate) {
        V::store_sum(out, sum[i][j], columns);
      } else {
        V::store(out, sum[i][j], columns);
      }
    }
  }
}

// Panels taken together when a tile has few rows: enough independent sums to hide the latency of
// the multiply-add, and enough streams to draw the memory's full bandwidth.
template <class V>
constexpr int panels_together(int m) {
  const int panels = V::kRegisters / 2 / (m * V::kVectors);
  return panels >= 4 ? 4 : panels >= 2 ? 2 : 1;
}

// tile_product by number of rows: one panel, or panels_together.
template <class V>
struct TileTable {
  TileProduct<V> one[V::kRows + 1] = {};
  TileProduct<V> together[V::kRows + 1] = {};

  constexpr TileTable() { fill<V::kRows>(); }
  template <int M>
  constexpr void fill() {
    one[M] = tile_product<V, M, 1>;
    together[M] = tile_product<V, M, panels_together<V>(M)>;
    if constexpr (M > 1) fill<M - 1>();
  }
};

template <class V>
void product(const MatmulBlock& block) noexcept {
  constexpr Index kPanel = Index{V::kLanes} * V::kVectors;
  static constexpr TileTable<V> kTiles;
  const auto* left = static_cast<const typename V::Left*>(block.left);
  const auto* right = static_cast<const typename V::Right*>(block.right);
  const Index largest = block.rows < V::kRows ? block.rows : V::kRows;
  const Index group = kPanel * panels_together<V>(static_cast<int>(largest < 1 ? 1 : largest));
  for (Index column = 0; column < block.n;) {
    const bool wide = block.rows <= V::kRows && column + group <= block.n;
    const Index n = wide ? group : (block.n - column < kPanel ? block.n - column : kPanel);
    for_each_tile<V>(block.rows, [&](Index row, Index m) {
      (wide ? kTiles.together : kTiles.one)[m](
          left + row * block.units, right + column * block.units, block.units,
          block.y + row * block.y_stride + column, block.y_stride, n, block.accumulate);
    });
    column += n;
  }
}

template <class V>
constexpr MatmulKernels make_matmul_kernels(sys::Isa isa, DType compute) {
  return {isa,
          compute,
          V::kRows,
          V::kLanes * V::kVectors,
          V::kUnit,
          sizeof(typename V::Left),
          sizeof(typename V::Right),
          left_by_rows<V>,
          left_by_columns<V>,
          right_by_rows<V, float>,
          right_by_columns<V, float>,
          right_by_rows<V, bf16>,
          right_by_columns<V, bf16>,
          product<V>};
}

}  // namespace
}  // namespace conclave::kernels
