#include "kernels/qmatmul/qmatmul_list.h"

#include <array>
#include <cmath>
#include <cstring>

#include "tensor/quant_blocks.h"

namespace conclave::kernels {
namespace {

// Scale and integers of one group of activations. A group with a number that is not finite gets a
// scale that is not finite either.
float quantize_group(const float* x, int count, std::int8_t* q) {
  float largest = 0;
  bool finite = true;
  for (int i = 0; i < count; ++i) {
    const float magnitude = std::fabs(x[i]);
    finite = finite && magnitude <= 3.402823466e38f;
    if (magnitude > largest) largest = magnitude;
  }
  const float inverse = finite && largest > 0 ? 127.0f / largest : 0.0f;
  for (int i = 0; i < count; ++i) {
    const float scaled = finite && inverse < 3.402823466e38f ? x[i] * inverse : 0.0f;
    q[i] = static_cast<std::int8_t>(std::lrintf(scaled));
  }
  return finite ? largest / 127.0f : std::nanf("");
}

void put_numbers(const QuantLeftLayout& layout, const std::int8_t* q, std::byte* to) {
  if (layout.number_bytes == 1) {
    std::memcpy(to, q, 32);
    return;
  }
  for (int i = 0; i < 32; ++i) {
    constexpr std::array kPlace = {0, 2, 1, 3};
    const std::int16_t number = q[i / 4 * 4 + kPlace[static_cast<std::size_t>(i % 4)]];
    std::memcpy(to + 2 * i, &number, 2);
  }
}

QuantSums16 sums_of_16(const std::int8_t* q) {
  int first = 0, second = 0;
  for (int i = 0; i < 16; i += 4) {
    first += q[i] + q[i + 1];
    second += q[i + 2] + q[i + 3];
  }
  return {static_cast<std::int16_t>(first), static_cast<std::int16_t>(second)};
}

void quantize_left(QuantType type, const float* const* rows, std::int64_t m, std::int64_t k,
                   std::byte* left) noexcept {
  quantize_left_reference(quant_left_layout(type, false), rows, m, k, left);
}

void product(const QuantTile& tile) noexcept {
  const QuantLayout& layout = *quant_layout(tile.type);
  const QuantLeftLayout left = quant_left_layout(tile.type, false);
  const std::int64_t m = tile.rows, k = tile.k;
  const auto* const q = reinterpret_cast<const std::int8_t*>(tile.left);
  const auto* const scales = reinterpret_cast<const float*>(tile.left + left.scales_at(m, k));
  std::byte blocks[256];
  float w[256];
  const std::int64_t panel_size = layout.panel_size(k);
  const int count = layout.block_count;
  for (std::int64_t n = 0; n < tile.n; ++n) {
    float sums[kQuantRows] = {};
    for (std::int64_t b = 0; b < layout.blocks(k); ++b) {
      unpack_quant_block(layout, tile.right + n / kQuantPanel * panel_size,
                         static_cast<int>(n % kQuantPanel), b, blocks);
      dequantize(tile.type, blocks, count, w);
      for (std::int64_t r = 0; r < m; ++r) {
        float sum = 0;
        for (int i = 0; i < count; ++i) {
          const std::int64_t at = b * count + i;
          sum += w[i] * static_cast<float>(q[(at / 32 * m + r) * 32 + at % 32]);
        }
        sums[r] += sum * scales[b * count / left.scale_group * m + r];
      }
    }
    for (std::int64_t r = 0; r < m; ++r) {
      float& y = tile.y[r * tile.y_stride + n];
      y = tile.accumulate ? y + sums[r] : sums[r];
    }
  }
}

}  // namespace

void quantize_left_reference(const QuantLeftLayout& layout, const float* const* rows,
                             std::int64_t m, std::int64_t k, std::byte* left) noexcept {
  auto* const scales = reinterpret_cast<float*>(left + layout.scales_at(m, k));
  std::byte* const sums = left + layout.sums_at(m, k);
  std::int8_t q[256];
  for (std::int64_t r = 0; r < m; ++r) {
    for (std::int64_t at = 0; at < k; at += layout.scale_group) {
      const float scale = quantize_group(rows[r] + at, layout.scale_group, q);
      const std::int64_t group = at / layout.scale_group;
      scales[group * m + r] = scale;
      for (int i = 0; i < layout.scale_group; i += 32) {
        const std::int64_t b = (at + i) / 32;
        put_numbers(layout, q + i, left + (b * m + r) * 32 * layout.number_bytes);
        put_sums(layout, sums, b * m + r, group * m + r, i / 32, sums_of_16(q + i),
                 sums_of_16(q + i + 16), scale);
      }
    }
  }
}

constinit const QuantKernels kQuantReference = {sys::Isa::kReference, 32, false, quantize_left,
                                                product};

}  // namespace conclave::kernels
