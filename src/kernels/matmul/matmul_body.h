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
  static constexpr int kVectors = 1;
  static constexpr bool kFetchAhead = false;  // MatmulTile::ahead does
  static void put(Unit* p, typename V::Vec v) { V::store_left(p, v); }
};
template <class V>
struct RightSide {
  using Unit = typename V::Right;
  static constexpr int kVectors = V::kVectors;
  static constexpr bool kFetchAhead = true;
  static void put(Unit* p, typename V::Vec v) { V::store_right(p, v); }
};

// Asks for the cache line of an address, which may be any, in cache level 3 - kLocality or so.
template <int kLocality>
void fetch(std::uintptr_t address) {
  __builtin_prefetch(reinterpret_cast<const void*>(address), 0, kLocality);
}
template <class T>
std::uintptr_t address_of(const T* p) {
  return reinterpret_cast<std::uintptr_t>(p);
}

// Brings the rows that follow the ones being packed towards the second level cache, in the order in
// which they lie in memory. Packing jumps from row to row, so the hardware sees short rows (up to a
// page) as noise: with this it reads 14 GB/s of rows of 1 KiB instead of 7 (Zen 4, one core).
template <class T>
class RowsAhead {
 public:
  RowsAhead(const T* source, Index stride, Index count, Index k)
      : stride_(stride * Index{sizeof(T)}),
        row_bytes_(k * Index{sizeof(T)}),
        row_(address_of(source) + static_cast<std::uintptr_t>(count * stride_)) {}

  void fetch_elements(Index elements) {
    if (row_bytes_ >= kPage) return;
    for (Index bytes = elements * Index{sizeof(T)}; bytes > 0; bytes -= kLine) {
      fetch<2>(row_ + static_cast<std::uintptr_t>(at_));
      at_ += kLine;
      if (at_ >= row_bytes_) {
        at_ = 0;
        row_ += static_cast<std::uintptr_t>(stride_);
      }
    }
  }

 private:
  static constexpr Index kPage = 4096;
  static constexpr Index kLine = 64;
  Index stride_;  // bytes
  Index row_bytes_;
  std::uintptr_t row_;
  Index at_ = 0;
};

// count <= kLanes rows of source, k elements each, into columns of units `width` apart. Always
// stores whole vectors, so what lies right of `count` must be written later or be slack.
template <class V, class Side, class T>
void pack_rows(const T* source, Index stride, Index count, Index k, typename Side::Unit* packed,
               Index width) {
  constexpr Index kStep = Index{V::kLanes} * V::kUnit;
  const Index units = (k + V::kUnit - 1) / V::kUnit;
  if (width == 1) {  // a row alone lies as it is
    for (; k > 0; k -= kStep, source += kStep, packed += V::kLanes) {
      Side::put(packed, V::row_units(source, k));
    }
    return;
  }
  RowsAhead<T> ahead(source, stride, count, k);
  for (Index k0 = 0, u0 = 0; k0 < k; k0 += kStep, u0 += V::kLanes) {
    if (Side::kFetchAhead) ahead.fetch_elements(count * kStep);
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

// k rows of source, count <= kVectors * kLanes columns of them, likewise. The columns to the right
// are what is packed next, and a row is far from the one below it: they are asked for ahead.
template <class V, class Side, class T>
void pack_columns(const T* source, Index stride, Index count, Index k, typename Side::Unit* packed,
                  Index width) {
  for (Index k0 = 0; k0 < k; k0 += V::kUnit) {
    const Index rows = k - k0 < V::kUnit ? k - k0 : V::kUnit;
    const T* row = source + k0 * stride;
#pragma GCC unroll 2
    for (int j = 0; j < Side::kVectors; ++j) {
      const Index at = Index{V::kLanes} * j;
      const Index n = count > at ? count - at : 0;
      Side::put(packed + at, V::column_units(row + (n > 0 ? at : 0), stride, rows, n));
#pragma GCC unroll 2
      for (int i = 0; i < (Side::kFetchAhead ? V::kUnit : 0); ++i) {
        fetch<2>(address_of(row + (i < rows ? i * stride : 0)) +
                 static_cast<std::uintptr_t>(count + at) * sizeof(T));
      }
    }
    packed += width;
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
  pack_columns<V, RightSide<V>>(source, stride, count, k, static_cast<typename V::Right*>(packed),
                                Index{V::kLanes} * V::kVectors);
}

template <class V>
void left_by_rows(const float* source, Index stride, Index count, Index k, void* packed) noexcept {
  pack_rows<V, LeftSide<V>>(source, stride, count, k, static_cast<typename V::Left*>(packed),
                            count);
}

template <class V>
void left_by_columns(const float* source, Index stride, Index count, Index k,
                     void* packed) noexcept {
  pack_columns<V, LeftSide<V>>(source, stride, count, k, static_cast<typename V::Left*>(packed),
                               count);
}

// M rows times P panels, all sums in registers. Returns where fetching ahead has come to.
template <class V, int M, int P>
std::uintptr_t tile_product(const MatmulTile& tile, Index column, std::uintptr_t ahead,
                            std::uintptr_t ahead_step) {
  constexpr int kPanel = V::kLanes * V::kVectors;
  constexpr int kColumns = P * V::kVectors;
  typename V::Acc sum[M][kColumns];
  float* y = tile.y + column;
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kColumns; ++j) {
      sum[i][j] = V::zero();
      // It arrives while the sums are made: the store (or addition) need not wait.
      fetch<3>(address_of(y + i * tile.y_stride) + sizeof(float) * V::kLanes * j);
    }
  }
  const auto* left = static_cast<const typename V::Left*>(tile.left);
  const auto* right = static_cast<const typename V::Right*>(tile.right) + column * tile.units;
  const Index next_panel = tile.units * kPanel;
  for (Index u = tile.units; u > 0; --u) {
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
    fetch<2>(ahead);
    ahead += ahead_step;
  }
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kColumns; ++j) {
      float* out = y + i * tile.y_stride + j * V::kLanes;
      const Index columns = tile.n - column - j * V::kLanes;
      if (columns <= 0) break;
      if (tile.accumulate) {
        V::store_sum(out, sum[i][j], columns);
      } else {
        V::store(out, sum[i][j], columns);
      }
    }
  }
  return ahead;
}

// Panels taken together when a tile has few rows: enough independent sums to hide the latency of
// the multiply-add, and enough streams to draw the memory's full bandwidth.
template <class V>
constexpr int panels_together(Index m) {
  const Index panels = V::kRegisters / 2 / (m * V::kVectors);
  return panels >= 4 ? 4 : panels >= 2 ? 2 : 1;
}

template <class V>
using TileProduct = std::uintptr_t (*)(const MatmulTile&, Index column, std::uintptr_t ahead,
                                       std::uintptr_t ahead_step);

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
void product(const MatmulTile& tile) noexcept {
  static constexpr TileTable<V> kTiles;
  constexpr Index kPanel = Index{V::kLanes} * V::kVectors;
  const Index group = kPanel * panels_together<V>(tile.rows);
  // What is asked for ahead when nothing is left to ask for must be harmless: a line in use.
  std::uintptr_t ahead = address_of(tile.ahead);
  Index fetches = tile.ahead_lines;
  for (Index column = 0; column < tile.n;) {
    if (fetches <= 0) ahead = address_of(tile.left);
    const auto step = static_cast<std::uintptr_t>(fetches > 0 ? tile.ahead_step : 0);
    const bool wide = column + group <= tile.n;
    ahead = (wide ? kTiles.together : kTiles.one)[tile.rows](tile, column, ahead, step);
    fetches -= tile.units;
    column += wide ? group : kPanel;
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
