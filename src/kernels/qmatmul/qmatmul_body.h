// The body of the quantised products, written once over a vector type V and instantiated by the
// file of each instruction set. V lives in that file's anonymous namespace, so every instantiation
// is local to it; of other headers nothing is called but members of the layouts, which the release
// build inlines (scripts/check_isa.py looks).
//
// V provides, on I (16 x int32, or 64 bytes) and F (16 x f32):
//   kRows                       rows whose dot products are in registers together
//   load, store, zero, set1_8, set1_32, bit_and, bit_or, bit_xor, add32
//   shift_right, shift_left     of 16-bit elements
//   or_and(a, b, c)             a | (b & c)
//   bit_to(v, from, to)         bit `from` of each byte to bit `to`, others undefined
//   table, shuffle              16 bytes looked up by bytes 0..15
//   bytes, words                16 x 8 or 16 bits widened to I
//   Number<most>, number<most>  64 bytes up to `most` in the form that products take, and I to it
//   Kept<most>, keep, kept      a Number that waits for its products, to and from it
//   dot16(sum, w, x)            += dot products of 2 int16 w with 2 int16 x[0..1], the same for all
//                               lanes
//   to_float, mul, fma(a, b, c), fnma, halves, half_e8m0, zerof, set1f, loadf, storef
//   put(y, v, n), add(y, v, n)  n floats of y = or += v
//   loadu, magnitude_bits (of |x|), max32, largest (of lanes)
//   round (to nearest even), store_bytes (16 x int32 to int8)
//   sums(v, q)                  QuantSums16 of the 16 lanes of v, which are q[0..15] too
//   kWide<most>                 whether activations beside numbers up to `most` are int16
// and the products of unsigned with signed bytes in one of two ways. kPairs is false: in 32 bits,
//   dot(sum, w, x)              += dot products of 4 bytes w with x[0..3], the same for all lanes
//   kSums                       sums of a super-block that registers hold
//   kAnyByte                    w may be above 128
//   signed_bytes                as bytes
//   shift_left_half             of 32-bit elements by 16
// kPairs is true: in sums of pairs of 16 bits, which hold only so many steps,
//   dots<T, parts, G, R>(w, x, stride, factor, start, done)
//                               for G groups of 32 and R rows, in `parts` parts of 8 / parts steps:
//                               done<g, i, p>(factor<g, p>(), int16, times the sum of *start<g, i,
//                               p>(), where the type has an offset, and over the steps j of part p
//                               of w<g, j>() times activations 4 j .. of row i, which begins at
//                               x + g stride + i times the bytes of 32 activations); these are
//                               within -127 .. 127. Types kWide have no factor and no start.
//   set1_16                     a factor
//   pairs_of_bytes<signed>(a, b)  a[i] and b[i] side by side, 16 bytes each widened to int16
//   add8                        of bytes
//   put_wide(q, to)             32 activations as int16, 0, 2, 1, 3 of each four
//   kGroups                     groups that a single row takes together; R rows take kGroups / R
//   fetch_beside(v, line)       asks for a line of memory where the bytes v are taken
#pragma once

#include "kernels/qmatmul/qmatmul_kernels.h"
#include "kernels/qmatmul/qmatmul_rows.h"
#include "kernels/qmatmul/qmatmul_super.h"

namespace conclave::kernels {
namespace {

template <class V, class T, int R>
inline void panel_of_few(const QuantTile& tile, const QuantLeftLayout& layout,
                         const std::byte* panel, Sums& sums) {
  if constexpr (kSuperBlocks<T>) {
    panel_of_256_few<V, T, R>(tile, layout, panel, sums);
  } else {
    panels_of_32_few<V, T, R, 1>(tile, layout, panel, 0, &sums);
  }
}

template <class V, class T>
inline void panel_product(const QuantTile& tile, const QuantLeftLayout& layout,
                          const std::byte* panel, Sums& sums) {
  switch (tile.rows) {
    case 1:
      return panel_of_few<V, T, 1>(tile, layout, panel, sums);
    case 2:
      return panel_of_few<V, T, 2>(tile, layout, panel, sums);
    case 3:
      return panel_of_few<V, T, 3>(tile, layout, panel, sums);
    case 4:
      return panel_of_few<V, T, 4>(tile, layout, panel, sums);
    default:
      break;
  }
  for (Index r = 0; r < tile.rows; ++r) V::storef(sums.of[r], V::zerof());
  if constexpr (kSuperBlocks<T>) {
    panel_of_256<V, T>(tile, layout, panel, sums);
  } else {
    panel_of_32<V, T>(tile, layout, panel, sums);
  }
}

template <class V>
inline void put_panel(const QuantTile& tile, Index n, const Sums& sums) {
  for (Index r = 0; r < tile.rows; ++r) {
    float* y = tile.y + r * tile.y_stride + n;
    if (tile.accumulate) {
      V::add(y, V::loadf(sums.of[r]), tile.n - n);
    } else {
      V::put(y, V::loadf(sums.of[r]), tile.n - n);
    }
  }
}

// Panels of a single row side by side, one of each half of the columns: in a half they follow each
// other, and asking ahead at the end of one asks for the next. Returns how many columns are done.
template <class V, class T>
inline Index panels_side_by_side(const QuantTile& tile, const QuantLeftLayout& layout,
                                 Index panel_size) {
  const Index half = tile.n / kQuantPanel / 2;
  for (Index i = 0; i < half; ++i) {
    Sums sums[2];
    panels_of_32_few<V, T, 1, 2>(tile, layout, tile.right + i * panel_size, half * panel_size,
                                 sums);
    put_panel<V>(tile, i * kQuantPanel, sums[0]);
    put_panel<V>(tile, (half + i) * kQuantPanel, sums[1]);
  }
  return 2 * half * kQuantPanel;
}

template <class V, class T>
void product_of(const QuantTile& tile, const QuantLeftLayout& layout, Index panel_size) {
  Index n = 0;
  if constexpr (kStepByStep<V, T, 1> && !kSuperBlocks<T>) {
    if (tile.rows == 1) n = panels_side_by_side<V, T>(tile, layout, panel_size);
  }
  for (; n < tile.n; n += kQuantPanel) {
    Sums sums;
    panel_product<V, T>(tile, layout, tile.right + n / kQuantPanel * panel_size, sums);
    put_panel<V>(tile, n, sums);
  }
}

// Scale of `count` numbers (a multiple of 32) and the integers; sums of 16 to sums[count / 16].
template <class V>
inline float quantize_group(const float* x, int count, std::int8_t* q, QuantSums16* sums) {
  constexpr std::int32_t kInfinity = 0x7f800000;
  auto most = V::zero();
  for (int i = 0; i < count; i += 16) {
    most = V::max32(most, V::magnitude_bits(V::loadu(x + i)));
  }
  // Magnitudes are ordered as their bits are, infinity and NaN above all others.
  const std::int32_t bits = V::largest(most);
  const float largest = __builtin_bit_cast(float, bits);
  float inverse = bits > 0 && bits < kInfinity ? 127.0f / largest : 0.0f;
  if (!(inverse <= 3.402823466e38f)) inverse = 0;
  if (bits >= kInfinity) {
    for (int i = 0; i < count; i += 16) {
      V::store_bytes(q + i, V::zero());
      sums[i / 16] = {};
    }
    return __builtin_nanf("");
  }
  for (int i = 0; i < count; i += 16) {
    const auto v = V::round(V::mul(V::loadu(x + i), V::set1f(inverse)));
    V::store_bytes(q + i, v);
    sums[i / 16] = V::sums(v, q + i);
  }
  return largest / 127.0f;
}

template <class V>
void quantize_left(QuantType type, const float* const* rows, std::int64_t m, std::int64_t k,
                   std::byte* left) noexcept {
  const QuantLeftLayout layout = quant_left_layout(type, V::kPairs);
  auto* const scales = reinterpret_cast<float*>(left + layout.scales_at(m, k));
  std::byte* const extra = left + layout.sums_at(m, k);
  alignas(64) std::int8_t group[256];
  QuantSums16 sums[16];
  for (Index r = 0; r < m; ++r) {
    for (Index at = 0, g = 0; at < k; at += layout.scale_group, ++g) {
      const float scale = quantize_group<V>(rows[r] + at, layout.scale_group, group, sums);
      scales[g * m + r] = scale;
      for (int i = 0; i < layout.scale_group / 32; ++i) {
        const Index b = (at / 32 + i) * m + r;
        if constexpr (V::kPairs) {
          if (layout.number_bytes == 2) V::put_wide(group + 32 * i, left + b * 64);
        }
        if (layout.number_bytes == 1) __builtin_memcpy(left + b * 32, group + 32 * i, 32);
        put_sums(layout, extra, b, g * m + r, i, sums[2 * i], sums[2 * i + 1], scale);
      }
    }
  }
}

template <class V>
void product(const QuantTile& tile) noexcept {
  const QuantLeftLayout layout = quant_left_layout(tile.type, V::kPairs);
  const Index panel_size = quant_layout(tile.type)->panel_size(tile.k);
  switch (tile.type) {
    case QuantType::kQ4_0:
      return product_of<V, TakeQ4_0<V>>(tile, layout, panel_size);
    case QuantType::kQ4_1:
      return product_of<V, TakeQ4_1<V>>(tile, layout, panel_size);
    case QuantType::kQ5_0:
      return product_of<V, TakeQ5_0<V>>(tile, layout, panel_size);
    case QuantType::kQ5_1:
      return product_of<V, TakeQ5_1<V>>(tile, layout, panel_size);
    case QuantType::kQ8_0:
      return product_of<V, TakeQ8_0<V>>(tile, layout, panel_size);
    case QuantType::kIQ4_NL:
      return product_of<V, TakeIQ4_NL<V>>(tile, layout, panel_size);
    case QuantType::kMXFP4:
      return product_of<V, TakeMXFP4<V>>(tile, layout, panel_size);
    case QuantType::kQ2_K:
      return product_of<V, TakeQ2_K<V>>(tile, layout, panel_size);
    case QuantType::kQ3_K:
      return product_of<V, TakeQ3_K<V>>(tile, layout, panel_size);
    case QuantType::kQ4_K:
      return product_of<V, TakeQ4_K<V>>(tile, layout, panel_size);
    case QuantType::kQ5_K:
      return product_of<V, TakeQ5_K<V>>(tile, layout, panel_size);
    case QuantType::kQ6_K:
      return product_of<V, TakeQ6_K<V>>(tile, layout, panel_size);
    case QuantType::kIQ4_XS:
      return product_of<V, TakeIQ4_XS<V>>(tile, layout, panel_size);
    default:
      return;
  }
}

}  // namespace
}  // namespace conclave::kernels
