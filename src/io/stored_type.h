// Element types as safetensors files name them, and their conversion from and to f32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/dtype.h"

namespace conclave::io {

enum class StoredType : std::uint8_t {
  kBool,
  kF4,
  kF6E2M3,
  kF6E3M2,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kF64,
  kI64,
  kU64,
  kC64,
};

// "F32", "BF16", ... as in the file.
const char* stored_type_name(StoredType type);
std::optional<StoredType> parse_stored_type(std::string_view name);
// 4, 6, 8, 16, 32 or 64.
int stored_type_bits(StoredType type);
StoredType stored_type_of(DType type);

// True for the types that convert_to_f32 takes: F64 F32 F16 BF16 F8_E4M3 F8_E5M2 F8_E8M0.
bool converts_to_f32(StoredType type);
// out[i] = element i of `bytes`, whose size must be out.size() elements. F64 is rounded to nearest.
void convert_to_f32(StoredType type, std::span<const std::byte> bytes, std::span<float> out);
// F32, F16 and BF16 only, rounded to nearest even.
void convert_from_f32(StoredType type, std::span<const float> values, std::span<std::byte> out);

}  // namespace conclave::io
