// How quantised weights lie in memory for the product kernels: panels of 16 rows whose blocks are
// interleaved by row. Every type of quant_types.h consists of 32-bit words of packed numbers,
// bytes of scales and 16-bit (or 8-bit) factors, and interleaving moves these whole, so a panel has
// exactly the bytes of its 16 rows and holds the same information: a row can be read back.
//
//   panel      chunk of block 0, 1, ... (multiples of 64 bytes), then tail of block 0, 1, ...
//   chunk      words [n_words][16 rows] of 4 bytes, in the order in which they are needed, then
//              planes [n_planes][16 rows] of 1 byte
//   tail       [n_tails][16 rows] of tail_bytes
//
// One word of four neighbours in k of each of 16 rows is what one 512-bit dot product takes; the
// layout is the same for all instruction sets.
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
  int tails_at, n_tails, tail_bytes;
  bool fifth_bits;  // word 0 holds the fifth bits of 32 numbers, number i in bit i: stored so that
                    // bit j of byte b belongs to number 4 j + b, as the other words have them

  // Where word `w` of a block comes among its chunk's words. Four words from a multiple of 4 on
  // stay together.
  constexpr int word_place(int w) const {
    if (type != QuantType::kQ6_K) return w;
    // Each half of the block: its 8 words of upper bits, then its 16 of lower bits. One row alone
    // reads memory a sixth faster than with all lower bits first, jumping to and fro.
    return w < 32 ? w / 16 * 24 + 8 + w % 16 : (w - 32) / 8 * 24 + w % 8;
  }
  constexpr std::int64_t blocks(std::int64_t k) const { return k / block_count; }
  constexpr std::int64_t chunk_size() const { return n_words * 64 + n_planes * 16; }
  constexpr std::int64_t tail_size() const { return std::int64_t{16} * n_tails * tail_bytes; }
  // Of a panel of K = k numbers a row, rounded up to cache lines.
  constexpr std::int64_t panel_size(std::int64_t k) const {
    return (blocks(k) * (chunk_size() + tail_size()) + 63) / 64 * 64;
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
void unpack_quant_block(const QuantLayout& layout, const std::byte* panel, int lane, std::int64_t k,
                        std::int64_t b, std::byte* block) noexcept;
void unpack_quant_row(const QuantLayout& layout, const std::byte* panel, int lane, std::int64_t k,
                      std::byte* blocks) noexcept;

}  // namespace conclave::kernels
