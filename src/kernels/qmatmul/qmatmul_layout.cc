// Interleaving of quantised blocks. The words are moved four rows and four words at a time: a
// baseline x86-64 transposition in registers packs faster than memory delivers.
#include "kernels/qmatmul/qmatmul_layout.h"

#include <emmintrin.h>

#include <array>
#include <cstring>

#include "tensor/quant_blocks.h"

namespace conclave::kernels {
namespace {

using namespace conclave::quant;

struct Words {
  int at, count;
};
struct Planes {
  int at = 0, count = 0;
};
struct Factors {
  int at, count, bytes = 2;
};

template <class Block>
constexpr QuantLayout layout(QuantType type, Words words, Planes planes, Factors factors,
                             bool fifth_bits = false) {
  static_assert(Block::kCount == 32 || Block::kCount == 256);
  return {type,          Block::kCount, static_cast<int>(sizeof(Block)),
          words.at,      words.count,   planes.at,
          planes.count,  factors.at,    factors.count,
          factors.bytes, fifth_bits};
}

constexpr std::array kLayouts = {
    layout<BlockQ4_0>(QuantType::kQ4_0, {2, 4}, {}, {0, 1}),
    layout<BlockQ4_1>(QuantType::kQ4_1, {4, 4}, {}, {0, 2}),
    layout<BlockQ5_0>(QuantType::kQ5_0, {2, 5}, {}, {0, 1}, true),
    layout<BlockQ5_1>(QuantType::kQ5_1, {4, 5}, {}, {0, 2}, true),
    layout<BlockQ8_0>(QuantType::kQ8_0, {2, 8}, {}, {0, 1}),
    layout<BlockIQ4_NL>(QuantType::kIQ4_NL, {2, 4}, {}, {0, 1}),
    layout<BlockMXFP4>(QuantType::kMXFP4, {1, 4}, {}, {0, 1, 1}),
    layout<BlockQ2_K>(QuantType::kQ2_K, {16, 16}, {0, 16}, {80, 2}),
    layout<BlockQ3_K>(QuantType::kQ3_K, {0, 24}, {96, 12}, {108, 1}),
    layout<BlockQ4_K>(QuantType::kQ4_K, {16, 32}, {4, 12}, {0, 2}),
    layout<BlockQ5_K>(QuantType::kQ5_K, {16, 40}, {4, 12}, {0, 2}),
    layout<BlockQ6_K>(QuantType::kQ6_K, {0, 48}, {192, 16}, {208, 1}),
    layout<BlockIQ4_XS>(QuantType::kIQ4_XS, {8, 32}, {4, 4}, {0, 2}),
};

constexpr bool whole_blocks() {
  for (const QuantLayout& l : kLayouts) {
    for (int w = l.n_words % 4; w < l.n_words; w += 4) {  // moved four at a time
      const int place = l.word_place(w), step = l.word_place(w + 1) - place;
      for (int i = 2; i < 4; ++i) {
        if (l.word_place(w + i) != place + i * step) return false;
      }
    }
    if (l.panel_block_size() != 16 * l.block_bytes) return false;
  }
  return true;
}
static_assert(whole_blocks(), "every byte of a block has a place, four words in even steps");

// Bits 0, 4, 8, ... 28 to bits 0 .. 7.
std::uint32_t every_fourth_bit(std::uint32_t bits) {
  bits &= 0x11111111u;
  bits = (bits | bits >> 3) & 0x03030303u;
  bits = (bits | bits >> 6) & 0x000f000fu;
  return (bits | bits >> 12) & 0xffu;
}
// Bits 0 .. 7 to bits 0, 4, 8, ... 28.
std::uint32_t spread_bits(std::uint32_t bits) {
  bits = (bits | bits << 12) & 0x000f000fu;
  bits = (bits | bits << 6) & 0x03030303u;
  return (bits | bits << 3) & 0x11111111u;
}
std::uint32_t bits_by_byte(std::uint32_t bits) {
  return every_fourth_bit(bits) | every_fourth_bit(bits >> 1) << 8 |
         every_fourth_bit(bits >> 2) << 16 | every_fourth_bit(bits >> 3) << 24;
}
std::uint32_t bits_by_number(std::uint32_t bits) {
  return spread_bits(bits & 0xff) | spread_bits(bits >> 8 & 0xff) << 1 |
         spread_bits(bits >> 16 & 0xff) << 2 | spread_bits(bits >> 24) << 3;
}

std::uint32_t load_word(const std::byte* p) {
  std::uint32_t word;
  std::memcpy(&word, p, sizeof(word));
  return word;
}
void store_word(std::byte* p, std::uint32_t word) { std::memcpy(p, &word, sizeof(word)); }

// Four words of each of four rows, `stride` bytes apart, to four places `step` bytes apart.
void transpose4(const std::byte* rows, std::int64_t stride, std::byte* out, std::int64_t step) {
  const auto load = [&](int r) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows + r * stride));
  };
  const auto store = [&](int w, __m128i v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + step * w), v);
  };
  const __m128i a = load(0), b = load(1), c = load(2), d = load(3);
  const __m128i ab_low = _mm_unpacklo_epi32(a, b), ab_high = _mm_unpackhi_epi32(a, b);
  const __m128i cd_low = _mm_unpacklo_epi32(c, d), cd_high = _mm_unpackhi_epi32(c, d);
  store(0, _mm_unpacklo_epi64(ab_low, cd_low));
  store(1, _mm_unpackhi_epi64(ab_low, cd_low));
  store(2, _mm_unpacklo_epi64(ab_high, cd_high));
  store(3, _mm_unpackhi_epi64(ab_high, cd_high));
}

void pack_words(const QuantLayout& l, const std::byte* block, std::int64_t row_bytes,
                std::int64_t count, std::byte* words) {
  const int first = l.n_words % 4;  // types of 32 with a fifth bit have 5 words
  for (std::int64_t r = 0; r < count; ++r) {
    for (int w = 0; w < first; ++w) {
      const std::uint32_t word = load_word(block + r * row_bytes + l.words_at + 4 * w);
      store_word(words + 64 * w + 4 * r, l.fifth_bits && w == 0 ? bits_by_byte(word) : word);
    }
  }
  if (count == kQuantPanel) {
    for (int w = first; w < l.n_words; w += 4) {
      const int place = l.word_place(w), step = l.word_place(w + 1) - place;
      for (int r = 0; r < kQuantPanel; r += 4) {
        transpose4(block + r * row_bytes + l.words_at + 4 * w, row_bytes,
                   words + 64 * place + 4 * r, 64 * step);
      }
    }
    return;
  }
  for (std::int64_t r = 0; r < count; ++r) {
    for (int w = first; w < l.n_words; ++w) {
      store_word(words + 64 * l.word_place(w) + 4 * r,
                 load_word(block + r * row_bytes + l.words_at + 4 * w));
    }
  }
}

}  // namespace

const QuantLayout* quant_layout(QuantType type) {
  for (const QuantLayout& l : kLayouts) {
    if (l.type == type) return &l;
  }
  return nullptr;
}

void pack_quant_panel(const QuantLayout& l, const std::byte* rows, std::int64_t row_bytes,
                      std::int64_t count, std::int64_t k, std::byte* panel) noexcept {
  const std::int64_t blocks = l.blocks(k);
  const std::int64_t size = l.panel_size(k);
  if (count < kQuantPanel) {
    std::memset(panel, 0, static_cast<std::size_t>(size));
  } else {
    std::memset(panel + size - 64, 0, 64);  // what rounding up left over
  }
  for (std::int64_t b = 0; b < blocks; ++b) {
    const std::byte* block = rows + b * l.block_bytes;
    std::byte* const factors = panel + b * l.panel_block_size();
    std::byte* const planes = factors + l.panel_planes_at();
    pack_words(l, block, row_bytes, count, factors + l.panel_words_at());
    for (std::int64_t r = 0; r < count; ++r) {
      const std::byte* row = block + r * row_bytes;
      for (int p = 0; p < l.n_planes; ++p) planes[16 * p + r] = row[l.planes_at + p];
      if (l.factor_bytes == 1) {
        factors[r] = row[l.factors_at];
        continue;
      }
      for (int f = 0; f < l.n_factors; ++f) {
        std::memcpy(factors + 32 * f + 2 * r, row + l.factors_at + 2 * f, 2);
      }
    }
  }
}

void unpack_quant_block(const QuantLayout& l, const std::byte* panel, int lane, std::int64_t b,
                        std::byte* block) noexcept {
  const std::byte* factors = panel + b * l.panel_block_size();
  const std::byte* planes = factors + l.panel_planes_at();
  const std::byte* words = factors + l.panel_words_at();
  for (int w = 0; w < l.n_words; ++w) {
    const std::uint32_t word = load_word(words + 64 * l.word_place(w) + 4 * lane);
    store_word(block + l.words_at + 4 * w, l.fifth_bits && w == 0 ? bits_by_number(word) : word);
  }
  for (int p = 0; p < l.n_planes; ++p) block[l.planes_at + p] = planes[16 * p + lane];
  for (int f = 0; f < l.n_factors; ++f) {
    const std::int64_t at = (std::int64_t{16} * f + lane) * l.factor_bytes;
    std::memcpy(block + l.factors_at + f * l.factor_bytes, factors + at,
                static_cast<std::size_t>(l.factor_bytes));
  }
}

void unpack_quant_row(const QuantLayout& l, const std::byte* panel, int lane, std::int64_t k,
                      std::byte* blocks) noexcept {
  for (std::int64_t b = 0; b < l.blocks(k); ++b) {
    unpack_quant_block(l, panel, lane, b, blocks + b * l.block_bytes);
  }
}

}  // namespace conclave::kernels
