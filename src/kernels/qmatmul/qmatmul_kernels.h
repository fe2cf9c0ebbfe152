// Products of f32 activations with quantised weights (Q8_0, Q4_K, ...; tensor/quant_types.h) for
// inference: activations are quantised to int8 once, dot products are exact in int32, and their
// scaled sums are taken in f32.
//
//   y[m, n] = sum over blocks b, in order, of  scale_x[m, b] scale_w[n, b] (q_x . q_w)[m, n, b]
//
// Activations have one f32 scale, largest magnitude / 127, for each 32 numbers beside types of
// blocks of 32 (as ggml's Q8_0, whose scale is rounded to f16), and for each 256 beside types of
// super-blocks (as ggml's Q8_K). The f32 operations on an element, and their order, depend on its
// K numbers and the type alone, never on the tile: a row's bits are the same in any batch.
// A number that is not finite makes its row of y not finite, and no other row.
//
// Weights are panels of 16 rows (qmatmul_layout.h). A left tile holds m <= kQuantRows rows:
//   q       int8  [K/32][m][32]; beside types of eight bits, where products are summed by pairs,
//           int16, numbers 0, 2, 1 and 3 of each four
//   scale   f32   [K/32][m], or [K/256][m]
//   sums    what the type needs of the sums of its q: see QuantSums
//
// All functions are single-threaded and allocate nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/qmatmul/qmatmul_layout.h"
#include "sys/cpu.h"

namespace conclave::kernels {

// Most rows of a left tile: a panel is read and its numbers are unpacked once for all of them.
inline constexpr int kQuantRows = 64;

// Weights that are unsigned with an offset (q - 8) need offset times the sum of q_x taken off: the
// dot products start from it. Weights with a minimum need the sum itself. Where products are summed
// by pairs, starts are pairs, too: for numbers 0 and 1 of each four, and for 2 and 3.
enum class QuantSums : std::uint8_t {
  kNone,
  kStart32,      // int32 [K/32][m]: - offset x sum of 32
  kStart16,      // int32 [K/32][m][2]: - offset x sums of 16
  kPairStart32,  // int16 [K/32][m][2]: - offset x sums of 32
  kPairStart16,  // int16 [K/32][m][2][2]: - offset x sums of 16
  kScaled32,     // f32 [K/32][m]: scale x sum of 32
  kPairs32,      // int16 [K/256][m][8]: sums of 32
  kPairs16,      // int16 [K/256][m][16]: sums of 16
};

// What the left tile for a weight type looks like.
struct QuantLeftLayout {
  int scale_group;  // 32 or 256
  QuantSums sums;
  int offset;
  int number_bytes = 1;  // int8, or int16, numbers 0, 2, 1 and 3 of each four

  bool operator==(const QuantLeftLayout&) const = default;
  std::int64_t scales_at(std::int64_t m, std::int64_t k) const { return m * k * number_bytes; }
  std::int64_t sums_at(std::int64_t m, std::int64_t k) const {
    return scales_at(m, k) + m * (k / scale_group) * 4;
  }
  std::int64_t size(std::int64_t m, std::int64_t k) const {
    const bool two = sums == QuantSums::kStart16 || sums == QuantSums::kPairStart16;
    const std::int64_t each = sums == QuantSums::kNone      ? 0
                              : sums == QuantSums::kPairs32 ? 2
                              : two                         ? 8
                                                            : 4;
    return (sums_at(m, k) + m * (k / 32) * each + 63) / 64 * 64;
  }
};

// Sums of 16 numbers: of numbers 0 and 1 of each four, and of 2 and 3; where no layout asks for
// these, the whole sum is the first.
struct QuantSums16 {
  std::int16_t first, second;
};
// Writes the sums of the two halves of 32 numbers: `block` counts the 32 numbers and `group` the
// scales of all rows of the tile, `part` the 32 numbers within a group of 256.
static inline void put_sums(const QuantLeftLayout& layout, std::byte* sums, std::int64_t block,
                            std::int64_t group, std::int64_t part, QuantSums16 low,
                            QuantSums16 high, float scale) {
  const int low_sum = low.first + low.second, high_sum = high.first + high.second;
  auto* const words = reinterpret_cast<std::int32_t*>(sums);
  auto* const halves = reinterpret_cast<std::int16_t*>(sums);
  switch (layout.sums) {
    case QuantSums::kNone:
      return;
    case QuantSums::kStart32:
      words[block] = -layout.offset * (low_sum + high_sum);
      return;
    case QuantSums::kStart16:
      words[2 * block] = -layout.offset * low_sum;
      words[2 * block + 1] = -layout.offset * high_sum;
      return;
    case QuantSums::kPairStart32:
      halves[2 * block] = static_cast<std::int16_t>(-layout.offset * (low.first + high.first));
      halves[2 * block + 1] =
          static_cast<std::int16_t>(-layout.offset * (low.second + high.second));
      return;
    case QuantSums::kPairStart16:
      halves[4 * block] = static_cast<std::int16_t>(-layout.offset * low.first);
      halves[4 * block + 1] = static_cast<std::int16_t>(-layout.offset * low.second);
      halves[4 * block + 2] = static_cast<std::int16_t>(-layout.offset * high.first);
      halves[4 * block + 3] = static_cast<std::int16_t>(-layout.offset * high.second);
      return;
    case QuantSums::kScaled32:
      reinterpret_cast<float*>(sums)[block] = scale * static_cast<float>(low_sum + high_sum);
      return;
    case QuantSums::kPairs32:
      halves[group * 8 + part] = static_cast<std::int16_t>(low_sum + high_sum);
      return;
    case QuantSums::kPairs16:
      halves[group * 16 + 2 * part] = static_cast<std::int16_t>(low_sum);
      halves[group * 16 + 2 * part + 1] = static_cast<std::int16_t>(high_sum);
      return;
  }
}
// For a type that has a quant_layout(), and products by pairs (QuantKernels::pairs) or not.
QuantLeftLayout quant_left_layout(QuantType type, bool pairs);

// A left tile of m rows of k numbers from tiles of one row each.
void join_left_rows(const QuantLeftLayout& layout, const std::byte* const* rows, std::int64_t m,
                    std::int64_t k, std::byte* left) noexcept;

// y[rows, n] = left * right, or += : the sum is then taken from zero and added once.
struct QuantTile {
  QuantType type;
  const std::byte* left;   // of 1 <= rows <= kQuantRows rows
  const std::byte* right;  // panels, at least n columns
  std::int64_t k;          // whole blocks
  std::int64_t rows;
  std::int64_t n;
  float* y;  // must not overlap the operands
  std::int64_t y_stride;
  bool accumulate;
};

struct QuantKernels {
  sys::Isa isa;
  // Rows that a left tile should have, up to kQuantRows. At K = 4096 a tile of 32 takes an eighth
  // of a 1 MiB L2; where unpacking costs more, tiles of 64 gain 2 to 4 % of whole prompts (Zen 3).
  int tile_rows;
  // Whether products are summed by pairs in 16 bits (docs/decisions/0014).
  bool pairs;
  QuantLeftLayout left_layout(QuantType type) const { return quant_left_layout(type, pairs); }
  // m rows of k numbers, wherever they lie, into a left tile for `type`.
  void (*quantize_left)(QuantType type, const float* const* rows, std::int64_t m, std::int64_t k,
                        std::byte* left) noexcept;
  void (*product)(const QuantTile& tile) noexcept;
};

// All kernels of this build, weakest first, the plain reference in front.
std::span<const QuantKernels> quant_kernels();

}  // namespace conclave::kernels
