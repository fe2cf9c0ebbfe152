#include "io/stored_type.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace conclave::io {
namespace {

float one(StoredType type, std::uint8_t bits) {
  const std::byte byte{bits};
  float value;
  convert_to_f32(type, {&byte, 1}, {&value, 1});
  return value;
}

// From the definition: sign, exponent with its bias, mantissa.
float by_definition(int bits, int exponent_bits, int bias) {
  const int mantissa_bits = 7 - exponent_bits;
  const int exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const float fraction = std::ldexp(static_cast<float>(mantissa), -mantissa_bits);
  const float magnitude =
      exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias);
  return (bits & 0x80) != 0 ? -magnitude : magnitude;
}

TEST(StoredType, EveryE4M3) {
  for (int bits = 0; bits < 256; ++bits) {
    const float value = one(StoredType::kF8E4M3, static_cast<std::uint8_t>(bits));
    if ((bits & 0x7f) == 0x7f) {
      EXPECT_TRUE(std::isnan(value));
    } else {
      EXPECT_EQ(value, by_definition(bits, 4, 7)) << bits;
      EXPECT_EQ(std::signbit(value), bits >= 128);
    }
  }
  EXPECT_EQ(one(StoredType::kF8E4M3, 0x7e), 448.0f);
}

TEST(StoredType, EveryE5M2) {
  for (int bits = 0; bits < 256; ++bits) {
    const float value = one(StoredType::kF8E5M2, static_cast<std::uint8_t>(bits));
    const int magnitude = bits & 0x7f;
    if (magnitude > 0x7c) {
      EXPECT_TRUE(std::isnan(value));
    } else if (magnitude == 0x7c) {
      EXPECT_EQ(std::fabs(value), std::numeric_limits<float>::infinity());
    } else {
      EXPECT_EQ(value, by_definition(bits, 5, 15)) << bits;
    }
  }
}

TEST(StoredType, EveryE8M0IsAPowerOfTwo) {
  for (int bits = 0; bits < 255; ++bits) {
    EXPECT_EQ(one(StoredType::kF8E8M0, static_cast<std::uint8_t>(bits)),
              std::ldexp(1.0f, bits - 127));
  }
  EXPECT_TRUE(std::isnan(one(StoredType::kF8E8M0, 255)));
}

TEST(StoredType, NarrowTypesSurviveTheRoundTrip) {
  const std::vector<float> values = {0.0f, -0.0f, 1.0f, -2.5f, 0.333251953125f, 65504.0f};
  for (const StoredType type : {StoredType::kF32, StoredType::kF16}) {
    std::vector<std::byte> bytes(values.size() * static_cast<std::size_t>(stored_type_bits(type)) /
                                 8);
    convert_from_f32(type, values, bytes);
    std::vector<float> back(values.size());
    convert_to_f32(type, bytes, back);
    EXPECT_EQ(std::memcmp(back.data(), values.data(), values.size() * 4), 0);
  }
  const float third = 1.0f / 3;
  std::byte bytes[2];
  convert_from_f32(StoredType::kBF16, {&third, 1}, bytes);
  float back;
  convert_to_f32(StoredType::kBF16, bytes, {&back, 1});
  EXPECT_EQ(back, 0.333984375f);
  const double tenth = 0.1;
  convert_to_f32(StoredType::kF64, std::as_bytes(std::span(&tenth, 1)), {&back, 1});
  EXPECT_EQ(back, 0.1f);
}

TEST(StoredType, NamesParseBack) {
  for (int i = 0; i <= static_cast<int>(StoredType::kC64); ++i) {
    const auto type = static_cast<StoredType>(i);
    EXPECT_EQ(parse_stored_type(stored_type_name(type)), type);
  }
  EXPECT_FALSE(parse_stored_type("f32").has_value());
  EXPECT_FALSE(parse_stored_type("").has_value());
}

}  // namespace
}  // namespace conclave::io
