#include "io/stored_type.h"

#include <array>
#include <bit>
#include <cstring>

#include "base/error.h"

namespace conclave::io {
namespace {

struct Row {
  StoredType type;
  const char* name;
  int bits;
};

constexpr std::array<Row, 20> kRows = {
    {{StoredType::kBool, "BOOL", 8},      {StoredType::kF4, "F4", 4},
     {StoredType::kF6E2M3, "F6_E2M3", 6}, {StoredType::kF6E3M2, "F6_E3M2", 6},
     {StoredType::kU8, "U8", 8},          {StoredType::kI8, "I8", 8},
     {StoredType::kF8E5M2, "F8_E5M2", 8}, {StoredType::kF8E4M3, "F8_E4M3", 8},
     {StoredType::kF8E8M0, "F8_E8M0", 8}, {StoredType::kI16, "I16", 16},
     {StoredType::kU16, "U16", 16},       {StoredType::kF16, "F16", 16},
     {StoredType::kBF16, "BF16", 16},     {StoredType::kI32, "I32", 32},
     {StoredType::kU32, "U32", 32},       {StoredType::kF32, "F32", 32},
     {StoredType::kF64, "F64", 64},       {StoredType::kI64, "I64", 64},
     {StoredType::kU64, "U64", 64},       {StoredType::kC64, "C64", 64}}};

// OCP 8-bit floats (OFP8 1.0). E4M3: bias 7, no infinity, NaN is S.1111.111. E5M2 is the upper byte
// of f16. E8M0 (OCP MX 1.0): a power of two, 2^(x - 127), NaN is 255.
float from_e4m3(std::uint8_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x80u) << 24;
  const std::uint32_t exponent = (bits >> 3) & 0xfu;
  const std::uint32_t mantissa = bits & 7u;
  if ((bits & 0x7fu) == 0x7fu) return std::bit_cast<float>(sign | 0x7fc00000u);
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-9f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | ((exponent + 120u) << 23) | (mantissa << 20));
}

float from_e5m2(std::uint8_t bits) { return to_float(f16{static_cast<std::uint16_t>(bits << 8)}); }

float from_e8m0(std::uint8_t bits) {
  if (bits == 255) return std::bit_cast<float>(0x7fc00000u);
  if (bits == 0) return 0x1p-127f;
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 23);
}

template <class T, class Convert>
void convert_each(std::span<const std::byte> bytes, std::span<float> out, Convert convert) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    out[i] = convert(value);
  }
}

}  // namespace

const char* stored_type_name(StoredType type) { return kRows[static_cast<std::size_t>(type)].name; }

std::optional<StoredType> parse_stored_type(std::string_view name) {
  for (const Row& row : kRows)
    if (name == row.name) return row.type;
  return std::nullopt;
}

int stored_type_bits(StoredType type) { return kRows[static_cast<std::size_t>(type)].bits; }

StoredType stored_type_of(DType type) {
  switch (type) {
    case DType::kF32:
      return StoredType::kF32;
    case DType::kBF16:
      return StoredType::kBF16;
    case DType::kF16:
      return StoredType::kF16;
    case DType::kF64:
      return StoredType::kF64;
    case DType::kI32:
      return StoredType::kI32;
    case DType::kI64:
      return StoredType::kI64;
    case DType::kU8:
      return StoredType::kU8;
  }
  CONCLAVE_CHECK(false, "element type {}", static_cast<int>(type));
  return StoredType::kU8;
}

bool converts_to_f32(StoredType type) {
  switch (type) {
    case StoredType::kF64:
    case StoredType::kF32:
    case StoredType::kF16:
    case StoredType::kBF16:
    case StoredType::kF8E4M3:
    case StoredType::kF8E5M2:
    case StoredType::kF8E8M0:
      return true;
    default:
      return false;
  }
}

void convert_to_f32(StoredType type, std::span<const std::byte> bytes, std::span<float> out) {
  CONCLAVE_CHECK(
      converts_to_f32(type) &&
          bytes.size() == out.size() * static_cast<std::size_t>(stored_type_bits(type)) / 8,
      "{} bytes of {} for {} elements", bytes.size(), stored_type_name(type), out.size());
  switch (type) {
    case StoredType::kF64:
      return convert_each<double>(bytes, out, [](double v) { return static_cast<float>(v); });
    case StoredType::kF32:
      if (!out.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
      return;
    case StoredType::kF16:
      return convert_each<f16>(bytes, out, [](f16 v) { return to_float(v); });
    case StoredType::kBF16:
      return convert_each<bf16>(bytes, out, [](bf16 v) { return to_float(v); });
    case StoredType::kF8E4M3:
      return convert_each<std::uint8_t>(bytes, out, from_e4m3);
    case StoredType::kF8E5M2:
      return convert_each<std::uint8_t>(bytes, out, from_e5m2);
    default:
      return convert_each<std::uint8_t>(bytes, out, from_e8m0);
  }
}

void convert_from_f32(StoredType type, std::span<const float> values, std::span<std::byte> out) {
  CONCLAVE_CHECK(out.size() == values.size() * static_cast<std::size_t>(stored_type_bits(type)) / 8,
                 "{} elements into {} bytes of {}", values.size(), out.size(),
                 stored_type_name(type));
  if (type == StoredType::kF32) {
    if (!values.empty()) std::memcpy(out.data(), values.data(), out.size());
    return;
  }
  CONCLAVE_CHECK(type == StoredType::kF16 || type == StoredType::kBF16, "{} is not written",
                 stored_type_name(type));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint16_t bits =
        type == StoredType::kF16 ? to_f16(values[i]).bits : to_bf16(values[i]).bits;
    std::memcpy(out.data() + 2 * i, &bits, 2);
  }
}

}  // namespace conclave::io
