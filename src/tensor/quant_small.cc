// Blocks of 32: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL, MXFP4.
#include <bit>
#include <cmath>

#include "tensor/quant_blocks.h"

namespace conclave::quant {
namespace {

// The low halves of 16 bytes to level(0..15, i), the high ones to level(0..15, i + 16).
template <class Level>
void decode_nibbles(const std::uint8_t* qs, float* out, Level level) {
  for (int i = 0; i < 16; ++i) {
    out[i] = level(qs[i] & 0xf, i);
    out[i + 16] = level(qs[i] >> 4, i + 16);
  }
}

int fifth_bit(const std::uint8_t* qh, int i) { return (qh[i / 8] >> (i % 8) & 1) << 4; }

bool fits(f16 scale) { return std::isfinite(to_float(scale)); }

}  // namespace

float half_e8m0(std::uint8_t e) {
  if (e < 2) return std::bit_cast<float>(0x00200000u << e);  // 2^-128 and 2^-127 are subnormal
  return std::bit_cast<float>(static_cast<std::uint32_t>(e - 1) << 23);
}

void decode(const BlockQ4_0& block, float* out) noexcept {
  const float d = to_float(block.d);
  decode_nibbles(block.qs, out, [&](int q, int) { return d * static_cast<float>(q - 8); });
}

void decode(const BlockQ4_1& block, float* out) noexcept {
  const float d = to_float(block.d);
  const float m = to_float(block.m);
  decode_nibbles(block.qs, out, [&](int q, int) { return d * static_cast<float>(q) + m; });
}

void decode(const BlockQ5_0& block, float* out) noexcept {
  const float d = to_float(block.d);
  decode_nibbles(block.qs, out, [&](int q, int i) {
    return d * static_cast<float>((q | fifth_bit(block.qh, i)) - 16);
  });
}

void decode(const BlockQ5_1& block, float* out) noexcept {
  const float d = to_float(block.d);
  const float m = to_float(block.m);
  decode_nibbles(block.qs, out, [&](int q, int i) {
    return d * static_cast<float>(q | fifth_bit(block.qh, i)) + m;
  });
}

void decode(const BlockQ8_0& block, float* out) noexcept {
  const float d = to_float(block.d);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(block.qs[i]) * d;
}

void decode(const BlockIQ4_NL& block, float* out) noexcept {
  const float d = to_float(block.d);
  decode_nibbles(block.qs, out, [&](int q, int) {
    return d * static_cast<float>(kNonlinear4[static_cast<std::size_t>(q)]);
  });
}

void decode(const BlockMXFP4& block, float* out) noexcept {
  const float d = half_e8m0(block.e);
  decode_nibbles(block.qs, out, [&](int q, int) {
    return d * static_cast<float>(kE2M1Doubled[static_cast<std::size_t>(q)]);
  });
}

// The number of largest magnitude becomes -8 exactly, so that all sixteen levels are used.
bool encode(const float* values, const float*, BlockQ4_0& block) noexcept {
  float extreme = 0.0f;
  for (int i = 0; i < 32; ++i) {
    if (std::fabs(values[i]) > std::fabs(extreme)) extreme = values[i];
  }
  const float d = extreme / -8.0f;
  const float inverse = d == 0.0f ? 0.0f : 1.0f / d;
  const auto level = [&](float x) {
    return static_cast<unsigned>(std::fmin(std::fmax(x * inverse + 8.5f, 0.0f), 15.0f));
  };
  block.d = to_f16(d);
  for (int i = 0; i < 16; ++i) {
    block.qs[i] = static_cast<std::uint8_t>(level(values[i]) | level(values[i + 16]) << 4);
  }
  return fits(block.d);
}

bool encode(const float* values, const float*, BlockQ8_0& block) noexcept {
  float largest = 0.0f;
  for (int i = 0; i < 32; ++i) largest = std::fmax(largest, std::fabs(values[i]));
  const float d = largest / 127.0f;
  const float inverse = d == 0.0f ? 0.0f : 1.0f / d;
  block.d = to_f16(d);
  for (int i = 0; i < 32; ++i) {
    // Away from zero on ties, as roundf. 1/d overflows for the smallest d; then all are 127 at
    // most.
    const float level = std::fmin(std::fmax(std::round(values[i] * inverse), -127.0f), 127.0f);
    block.qs[i] = static_cast<std::int8_t>(level);
  }
  return fits(block.d);
}

// The scale of the OCP conversion: the exponent of the largest magnitude less that of 4, the
// largest power of two in E2M1. Each number goes to the nearest level, the first of two equal ones.
bool encode(const float* values, const float*, BlockMXFP4& block) noexcept {
  float largest = 0.0f;
  for (int i = 0; i < 32; ++i) largest = std::fmax(largest, std::fabs(values[i]));
  const int exponent = largest > 0.0f ? std::ilogb(largest) - 2 + 127 : 0;
  block.e = static_cast<std::uint8_t>(exponent < 0 ? 0 : exponent);
  const float d = half_e8m0(block.e);
  const auto level = [&](float x) {
    unsigned best = 0;
    float least = std::fabs(x);
    for (unsigned q = 1; q < 16; ++q) {
      const float error = std::fabs(d * static_cast<float>(kE2M1Doubled[q]) - x);
      if (error < least) {
        least = error;
        best = q;
      }
    }
    return best;
  };
  for (int i = 0; i < 16; ++i) {
    block.qs[i] = static_cast<std::uint8_t>(level(values[i]) | level(values[i + 16]) << 4);
  }
  return true;
}

}  // namespace conclave::quant
