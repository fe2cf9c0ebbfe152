// How quantised weights lie in memory for the product kernels: panels of 16 rows whose blocks are
// interleaved by row. Every type of quant_types.h consists of 32-bit words of packed numbers,
// bytes of scales and 16-bit (or 8-bit) factors, and interleaving moves these whole, so a panel has
// exactly the bytes of its 16 rows and holds the same information: a row can be read back.
//
//   panel      block 0, 1, ... of 16 rows, one after the other
//   block      factors [n_factors][16 rows] of factor_bytes, then
//              planes  [n_planes][16 rows] of 1 byte, then
//              words   [n_words][16 rows] of 4 bytes, all in the order in which they are needed
//
// One word of four neighbours in k of each of 16 rows is what one 512-bit dot product takes; the
// layout is the same for all instruction sets. A product reads a panel from its first byte to its
// last: processors fetch ahead of that, and of little else (docs/decisions/0008).
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/quant_types.h"

namespace conclave::kernels {

inline constexpr int kQuantPanel = 16;

// Where the parts of a block of one type are, in bytes of the stored block.
struct QuantLayout {
  QuantType type;
  int block_count;  // numbers in a block: 32 or 256
  int block_bytes;
  int words_at, n_words;
  int planes_at, n_planes;
  int factors_at, n_factors, factor_bytes;
  bool fifth_bits;  // word 0 holds the fifth bits of 32 numbers, number i in bit i: stored so that
                    // bit j of byte b belongs to number 4 j + b, as the other words have them

  // Where word `w` of a row's block comes among the words. In a super-block, a half after the
  // other, its words of step j = 0 .. 7 together: what four groups of 32 need for their numbers 4 j
  // .. 4 j + 3.
  constexpr int word_place(int w) const {
    const int half = w / 16, j = w % 8, second = w / 8 % 2;
    const int v = w - 8, v_half = v / 16, v_second = v / 8 % 2;
    switch (type) {
      case QuantType::kQ3_K:  // 8 words of upper bits, 16 of pairs
        return w < 8 ? 2 * j : v < 8 ? 2 * j + 1 : w;
      case QuantType::kQ4_K:
        return 16 * half + 2 * j + second;
      case QuantType::kQ5_K:  // 8 words of upper bits, 32 of nibbles
        return w < 8 ? 3 * j : v_half == 0 ? 3 * j + 1 + v_second : 24 + 2 * j + v_second;
      case QuantType::kQ6_K:  // 32 words of nibbles, 16 of upper bits
        return w < 32 ? 24 * half + 3 * j + 1 + second : 24 * second + 3 * j;
      case QuantType::kIQ4_XS:
        return 16 * half + 4 * (w % 4) + w / 4 % 4;
      default:
        return w;
    }
  }
  constexpr std::int64_t blocks(std::int64_t k) const { return k / block_count; }
  // In a block of 16 rows, where planes and words begin, and its size.
  constexpr std::int64_t panel_planes_at() const {
    return std::int64_t{16} * n_factors * factor_bytes;
  }
  constexpr std::int64_t panel_words_at() const { return panel_planes_at() + n_planes * 16; }
  constexpr std::int64_t panel_block_size() const { return panel_words_at() + n_words * 64; }
  // Of a panel of K = k numbers a row, rounded up to cache lines.
  constexpr std::int64_t panel_size(std::int64_t k) const {
    return (blocks(k) * panel_block_size() + 63) / 64 * 64;
  }
  static constexpr std::int64_t panels(std::int64_t n) {
    return (n + kQuantPanel - 1) / kQuantPanel;
  }
};

// The layout of a quantised type, or null for the float types, which have none.
const QuantLayout* quant_layout(QuantType type);

// One panel from `count` <= 16 rows of `k` numbers in blocks, `row_bytes` apart; missing rows are
// zero bytes (numbers that are 0 or whose products are never stored).
void pack_quant_panel(const QuantLayout& layout, const std::byte* rows, std::int64_t row_bytes,
                      std::int64_t count, std::int64_t k, std::byte* panel) noexcept;

// Block `b` of row `lane` of a panel as it was packed, and the whole row.
void unpack_quant_block(const QuantLayout& layout, const std::byte* panel, int lane, std::int64_t b,
                        std::byte* block) noexcept;
void unpack_quant_row(const QuantLayout& layout, const std::byte* panel, int lane, std::int64_t k,
                      std::byte* blocks) noexcept;

}  // namespace conclave::kernels
