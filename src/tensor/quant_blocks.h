// The blocks of quant_types.h as structs without padding, and decoding of one block. f16 fields are
// kept as bits. In types of 32, number i < 16 is the low half of qs[i], number i + 16 the high one.
#pragma once

#include <array>
#include <cstdint>

#include "base/dtype.h"

namespace conclave::quant {

struct BlockQ4_0 {  // x = d (q - 8)
  static constexpr int kCount = 32;
  f16 d;
  std::uint8_t qs[16];
};
struct BlockQ4_1 {  // x = d q + m
  static constexpr int kCount = 32;
  f16 d;
  f16 m;
  std::uint8_t qs[16];
};
struct BlockQ5_0 {  // x = d (q - 16), the fifth bit of number i is bit i of qh
  static constexpr int kCount = 32;
  f16 d;
  std::uint8_t qh[4];
  std::uint8_t qs[16];
};
struct BlockQ5_1 {  // x = d q + m
  static constexpr int kCount = 32;
  f16 d;
  f16 m;
  std::uint8_t qh[4];
  std::uint8_t qs[16];
};
struct BlockQ8_0 {  // x = d q
  static constexpr int kCount = 32;
  f16 d;
  std::int8_t qs[32];
};
struct BlockIQ4_NL {  // x = d kNonlinear4[q]
  static constexpr int kCount = 32;
  f16 d;
  std::uint8_t qs[16];
};
struct BlockMXFP4 {  // x = 2^(e - 127) E2M1(q), an OCP microscaling block
  static constexpr int kCount = 32;
  std::uint8_t e;
  std::uint8_t qs[16];
};

// Super-blocks of 256 numbers in 16 groups of 16 (Q2_K, Q3_K, Q6_K) or 8 of 32.
struct BlockQ2_K {  // x = d s q - dmin m, s and m the halves of a byte of scales
  static constexpr int kCount = 256;
  std::uint8_t scales[16];
  std::uint8_t qs[64];
  f16 d;
  f16 dmin;
};
struct BlockQ3_K {  // x = d s (q - 4), the third bit in hmask, s of 6 bits less 32
  static constexpr int kCount = 256;
  std::uint8_t hmask[32];
  std::uint8_t qs[64];
  std::uint8_t scales[12];
  f16 d;
};
struct BlockQ4_K {  // x = d s q - dmin m, s and m of 6 bits
  static constexpr int kCount = 256;
  f16 d;
  f16 dmin;
  std::uint8_t scales[12];
  std::uint8_t qs[128];
};
struct BlockQ5_K {  // as Q4_K with a fifth bit in qh
  static constexpr int kCount = 256;
  f16 d;
  f16 dmin;
  std::uint8_t scales[12];
  std::uint8_t qh[32];
  std::uint8_t qs[128];
};
struct BlockQ6_K {  // x = d s (q - 32), four low bits in ql, two high ones in qh
  static constexpr int kCount = 256;
  std::uint8_t ql[128];
  std::uint8_t qh[64];
  std::int8_t scales[16];
  f16 d;
};
struct BlockIQ4_XS {  // x = d (s - 32) kNonlinear4[q], s of 6 bits
  static constexpr int kCount = 256;
  f16 d;
  std::uint16_t scales_h;
  std::uint8_t scales_l[4];
  std::uint8_t qs[128];
};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22 &&
              sizeof(BlockQ5_1) == 24 && sizeof(BlockQ8_0) == 34 && sizeof(BlockIQ4_NL) == 18 &&
              sizeof(BlockMXFP4) == 17 && sizeof(BlockQ2_K) == 84 && sizeof(BlockQ3_K) == 110 &&
              sizeof(BlockQ4_K) == 144 && sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210 &&
              sizeof(BlockIQ4_XS) == 136);

// Sixteen levels that follow the density of weights better than even steps (ggml's IQ4_NL).
inline constexpr std::array<std::int8_t, 16> kNonlinear4 = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
// Twice the values of E2M1 (sign, two bits of exponent, one of mantissa).
inline constexpr std::array<std::int8_t, 16> kE2M1Doubled = {0, 1,  2,  3,  4,  6,  8,  12,
                                                             0, -1, -2, -3, -4, -6, -8, -12};
// 2^(e - 128): half of an E8M0 scale, to go with doubled E2M1 values.
float half_e8m0(std::uint8_t e);

// Scale and minimum of 6 bits of group j (0..7) of Q4_K and Q5_K.
struct ScaleMin {
  std::uint8_t scale;
  std::uint8_t min;
};
inline ScaleMin unpack_scale_min(const std::uint8_t* packed, int j) {
  if (j < 4) {
    return {static_cast<std::uint8_t>(packed[j] & 63),
            static_cast<std::uint8_t>(packed[j + 4] & 63)};
  }
  return {static_cast<std::uint8_t>((packed[j + 4] & 0xf) | (packed[j - 4] >> 6) << 4),
          static_cast<std::uint8_t>(packed[j + 4] >> 4 | (packed[j] >> 6) << 4)};
}

void decode(const BlockQ4_0& block, float* out) noexcept;
void decode(const BlockQ4_1& block, float* out) noexcept;
void decode(const BlockQ5_0& block, float* out) noexcept;
void decode(const BlockQ5_1& block, float* out) noexcept;
void decode(const BlockQ8_0& block, float* out) noexcept;
void decode(const BlockIQ4_NL& block, float* out) noexcept;
void decode(const BlockMXFP4& block, float* out) noexcept;
void decode(const BlockQ2_K& block, float* out) noexcept;
void decode(const BlockQ3_K& block, float* out) noexcept;
void decode(const BlockQ4_K& block, float* out) noexcept;
void decode(const BlockQ5_K& block, float* out) noexcept;
void decode(const BlockQ6_K& block, float* out) noexcept;
void decode(const BlockIQ4_XS& block, float* out) noexcept;

// One block from finite numbers; false where a scale exceeds f16. `importance` may be null.
bool encode(const float* values, const float* importance, BlockQ4_0& block) noexcept;
bool encode(const float* values, const float* importance, BlockQ8_0& block) noexcept;
bool encode(const float* values, const float* importance, BlockMXFP4& block) noexcept;
bool encode(const float* values, const float* importance, BlockQ4_K& block) noexcept;
bool encode(const float* values, const float* importance, BlockQ5_K& block) noexcept;
bool encode(const float* values, const float* importance, BlockQ6_K& block) noexcept;

}  // namespace conclave::quant
