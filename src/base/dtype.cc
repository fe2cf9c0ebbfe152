#include "base/dtype.h"

#include <array>
#include <utility>

namespace conclave {
namespace {

struct DTypeInfo {
  DType type;
  const char* name;
  std::size_t size;
};

constexpr std::array<DTypeInfo, 7> kInfo = {{{DType::kF32, "f32", 4},
                                             {DType::kBF16, "bf16", 2},
                                             {DType::kF16, "f16", 2},
                                             {DType::kF64, "f64", 8},
                                             {DType::kI32, "i32", 4},
                                             {DType::kI64, "i64", 8},
                                             {DType::kU8, "u8", 1}}};

}  // namespace

std::size_t dtype_size(DType type) { return kInfo[static_cast<std::size_t>(type)].size; }
const char* dtype_name(DType type) { return kInfo[static_cast<std::size_t>(type)].name; }

std::optional<DType> parse_dtype(std::string_view name) {
  for (const DTypeInfo& info : kInfo)
    if (name == info.name) return info.type;
  return std::nullopt;
}

f16 to_f16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {static_cast<std::uint16_t>(sign | 0x7e00u)};
  if (magnitude >= 0x47800000u) return {static_cast<std::uint16_t>(sign | 0x7c00u)};  // >= 65536
  if (magnitude < 0x38800000u) {  // below 2^-14: a multiple of 2^-24, rounded by the addition
    const float scaled = std::bit_cast<float>(magnitude) + 0.5f;  // 0.5f has an ulp of 2^-24
    return {static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(scaled) & 0x7fffu))};
  }
  const std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return {static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13))};
}

float to_float(f16 value) {
  const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000u) << 16;
  const std::uint32_t exponent = (value.bits >> 10) & 0x1fu;
  const std::uint32_t mantissa = value.bits & 0x3ffu;
  if (exponent == 0x1fu) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

}  // namespace conclave
