// Decoding of super-blocks of 256: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_XS.
//
// Q2_K, Q3_K: each half of 128 numbers has 32 bytes of qs; number 32 s + l of the half is bits 2 s
// and 2 s + 1 of byte l. Q4_K, Q5_K: each quarter of 64 has 32 bytes; its first 32 numbers are the
// low halves, the others the high ones.
#include "tensor/quant_blocks.h"

namespace conclave::quant {

void decode(const BlockQ2_K& block, float* out) noexcept {
  const float d = to_float(block.d);
  const float dmin = to_float(block.dmin);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128;
    const int shift = i % 128 / 32 * 2;
    const int q = block.qs[32 * half + i % 32] >> shift & 3;
    const std::uint8_t scale = block.scales[i / 16];
    out[i] = d * static_cast<float>(scale & 0xf) * static_cast<float>(q) -
             dmin * static_cast<float>(scale >> 4);
  }
}

void decode(const BlockQ3_K& block, float* out) noexcept {
  const float d = to_float(block.d);
  for (int group = 0; group < 16; ++group) {
    const int low = block.scales[group % 8] >> (4 * (group / 8)) & 0xf;
    const int high = block.scales[8 + group % 4] >> (2 * (group / 4)) & 3;
    const float scale = d * static_cast<float>((low | high << 4) - 32);
    for (int i = 16 * group; i < 16 * group + 16; ++i) {
      const int q = block.qs[32 * (i / 128) + i % 32] >> (i % 128 / 32 * 2) & 3;
      const int third_bit = block.hmask[i % 32] >> (i / 32) & 1;
      out[i] = scale * static_cast<float>((q | third_bit << 2) - 4);
    }
  }
}

void decode(const BlockQ4_K& block, float* out) noexcept {
  const float d = to_float(block.d);
  const float dmin = to_float(block.dmin);
  for (int group = 0; group < 8; ++group) {
    const ScaleMin packed = unpack_scale_min(block.scales, group);
    const float scale = d * static_cast<float>(packed.scale);
    const float min = dmin * static_cast<float>(packed.min);
    const std::uint8_t* const qs = block.qs + 32 * (group / 2);
    for (int l = 0; l < 32; ++l) {
      out[32 * group + l] = scale * static_cast<float>(qs[l] >> (4 * (group % 2)) & 0xf) - min;
    }
  }
}

void decode(const BlockQ5_K& block, float* out) noexcept {
  const float d = to_float(block.d);
  const float dmin = to_float(block.dmin);
  for (int group = 0; group < 8; ++group) {
    const ScaleMin packed = unpack_scale_min(block.scales, group);
    const float scale = d * static_cast<float>(packed.scale);
    const float min = dmin * static_cast<float>(packed.min);
    const std::uint8_t* const qs = block.qs + 32 * (group / 2);
    for (int l = 0; l < 32; ++l) {
      const int q = (qs[l] >> (4 * (group % 2)) & 0xf) | (block.qh[l] >> group & 1) << 4;
      out[32 * group + l] = scale * static_cast<float>(q) - min;
    }
  }
}

// Each half of 128 numbers has 64 bytes of ql and 32 of qh; number 32 s + l takes its low bits from
// ql[l + 32 (s % 2)], the high half of it for s >= 2, and bits 2 s and 2 s + 1 of qh[l].
void decode(const BlockQ6_K& block, float* out) noexcept {
  const float d = to_float(block.d);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128;
    const int s = i % 128 / 32;
    const int l = i % 32;
    const int low = block.ql[64 * half + 32 * (s % 2) + l] >> (4 * (s / 2)) & 0xf;
    const int high = block.qh[32 * half + l] >> (2 * s) & 3;
    out[i] =
        d * static_cast<float>(block.scales[i / 16]) * static_cast<float>((low | high << 4) - 32);
  }
}

void decode(const BlockIQ4_XS& block, float* out) noexcept {
  const float d = to_float(block.d);
  for (int group = 0; group < 8; ++group) {
    const int low = block.scales_l[group / 2] >> (4 * (group % 2)) & 0xf;
    const int high = block.scales_h >> (2 * group) & 3;
    const float scale = d * static_cast<float>((low | high << 4) - 32);
    for (int l = 0; l < 16; ++l) {
      const std::uint8_t q = block.qs[16 * group + l];
      out[32 * group + l] = scale * static_cast<float>(kNonlinear4[q & 0xf]);
      out[32 * group + l + 16] = scale * static_cast<float>(kNonlinear4[q >> 4]);
    }
  }
}

}  // namespace conclave::quant
