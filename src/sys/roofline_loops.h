// The measuring loops by instruction set, defined in roofline_<set>.cc.
#pragma once

#include <cstddef>
#include <cstdint>

#include "sys/cpu.h"

namespace conclave::sys {

struct RooflineLoops {
  Isa isa;
  // Runs independent chains of multiply-adds in registers, `rounds` long; returns a value that
  // depends on all of them. Null where the set has no such instruction.
  float (*f32)(std::int64_t rounds) noexcept;
  float (*bf16)(std::int64_t rounds) noexcept;
  std::int64_t f32_flops;  // in one round
  std::int64_t bf16_flops;
  // Reads `bytes` (a multiple of 512) from a 64-byte boundary, as two streams (a twentieth faster
  // than one on Zen 4); returns a value that depends on all.
  std::uint64_t (*read)(const std::byte* data, std::size_t bytes) noexcept;
  // As f32 and bf16, with dot products of unsigned with signed bytes, or sums of their pairs.
  float (*int8)(std::int64_t rounds) noexcept = nullptr;
  std::int64_t int8_ops = 0;
};

extern const RooflineLoops kRooflineAvx2;
extern const RooflineLoops kRooflineAvx512;
extern const RooflineLoops kRooflineAvx512Vnni;
extern const RooflineLoops kRooflineAvx512Bf16;

}  // namespace conclave::sys
