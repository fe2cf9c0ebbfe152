#include "tensor/quant_types.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/rng.h"
#include "tensor/quant_blocks.h"
#include "tensor/quant_goldens.h"

namespace conclave {
namespace {

std::vector<std::byte> from_hex(std::string_view text) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(digit(text[i]) << 4 | digit(text[i + 1])));
  }
  return bytes;
}

// The same numbers as sample() of scripts/make_quant_goldens.py.
std::vector<float> sample() {
  std::vector<float> values(256);
  for (std::uint32_t i = 0; i < 256; ++i) {
    const std::uint32_t word = i * 2654435761u + 12345u;
    const float unit = static_cast<float>(word >> 8) * 0x1p-23f - 1.0f;
    values[i] = i < 32 ? 0.0f : std::ldexp(unit, static_cast<int>(i / 32) - 5);
  }
  values[40] = -0.0f;
  return values;
}

std::vector<float> gaussian(std::size_t count, float scale) {
  const Rng rng(11);
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = scale * static_cast<float>(rng.normal(i));
  return values;
}

std::vector<std::byte> encoded(QuantType type, const std::vector<float>& values,
                               std::span<const float> importance = {}) {
  std::vector<std::byte> blocks(
      static_cast<std::size_t>(quant_bytes(type, static_cast<std::int64_t>(values.size()))));
  quantize(type, values, blocks, importance);
  return blocks;
}

std::vector<float> decoded(QuantType type, const std::vector<std::byte>& blocks,
                           std::size_t count) {
  std::vector<float> values(count);
  dequantize(type, blocks.data(), static_cast<std::int64_t>(count), values.data());
  return values;
}

// sqrt(sum w (x - y)^2 / sum w x^2)
double relative_error(const std::vector<float>& x, const std::vector<float>& y,
                      std::span<const float> weights = {}) {
  double error = 0;
  double norm = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double w = weights.empty() ? 1.0 : weights[i];
    error += w * (x[i] - y[i]) * (x[i] - y[i]);
    norm += w * x[i] * x[i];
  }
  return std::sqrt(error / norm);
}

TEST(QuantTypes, DecodeTheReferencesBitsExactly) {
  int types = 0;
  for (const QuantGolden& golden : kDecodeGoldens) {
    const std::vector<std::byte> expected = from_hex(golden.values);
    // Once more at an odd address: blocks of 17 and 18 bytes are never aligned.
    std::vector<std::byte> shifted = from_hex(golden.blocks);
    shifted.insert(shifted.begin(), std::byte{0});
    std::vector<float> got(256 + 2, 99.0f);
    dequantize(golden.type, shifted.data() + 1, 256, got.data() + 1);
    EXPECT_EQ(std::memcmp(got.data() + 1, expected.data(), 1024), 0)
        << quant_info(golden.type).name;
    EXPECT_EQ(got.front(), 99.0f);
    EXPECT_EQ(got.back(), 99.0f);
    ++types;
  }
  EXPECT_EQ(types, kQuantTypeCount - 1);  // all but F32
}

TEST(QuantTypes, EncodeTheReferencesBytes) {
  for (const QuantGolden& golden : kEncodeGoldens) {
    EXPECT_EQ(encoded(golden.type, sample()), from_hex(golden.blocks))
        << quant_info(golden.type).name;
  }
}

// Errors on normally distributed weights, close to what a type can reach: no worse than these, and
// what is decoded encodes to itself or something as near.
TEST(QuantTypes, ErrorsAreThoseOfTheType) {
  const std::vector<float> values = gaussian(256 * 64, 0.02f);
  const std::pair<QuantType, double> limits[] = {
      {QuantType::kF32, 0.0},    {QuantType::kF16, 3e-4},   {QuantType::kBF16, 2.4e-3},
      {QuantType::kQ8_0, 6e-3},  {QuantType::kQ6_K, 0.020}, {QuantType::kQ5_K, 0.038},
      {QuantType::kQ4_K, 0.075}, {QuantType::kQ4_0, 0.095}, {QuantType::kMXFP4, 0.135}};
  for (const auto& [type, limit] : limits) {
    const std::vector<float> once = decoded(type, encoded(type, values), values.size());
    const double error = relative_error(values, once);
    EXPECT_LE(error, limit) << quant_info(type).name;
    EXPECT_GE(error, limit * 0.6) << quant_info(type).name << ": the limit says nothing";
    const std::vector<float> twice = decoded(type, encoded(type, once), values.size());
    EXPECT_LE(relative_error(once, twice), limit / 2) << quant_info(type).name;
  }
}

TEST(QuantTypes, ImportanceMovesTheErrorAway) {
  const std::vector<float> values = gaussian(256 * 16, 0.02f);
  std::vector<float> importance(values.size());
  for (std::size_t i = 0; i < importance.size(); ++i) importance[i] = i % 4 == 0 ? 100.0f : 0.01f;
  for (const QuantType type : {QuantType::kQ4_K, QuantType::kQ5_K, QuantType::kQ6_K}) {
    const auto plain = decoded(type, encoded(type, values), values.size());
    const auto weighted = decoded(type, encoded(type, values, importance), values.size());
    EXPECT_LT(relative_error(values, weighted, importance),
              0.97 * relative_error(values, plain, importance))
        << quant_info(type).name;
    const std::vector<float> none(values.size(), 0.0f);  // nothing matters: still no NaN
    for (const float x : decoded(type, encoded(type, values, none), values.size())) {
      ASSERT_TRUE(std::isfinite(x));
    }
  }
}

TEST(QuantTypes, OddBlocksStayFinite) {
  std::vector<std::vector<float>> blocks;
  blocks.push_back(std::vector<float>(256, 0.0f));
  blocks.push_back(std::vector<float>(256, -0.0f));
  blocks.push_back(std::vector<float>(256, 1.0f));
  blocks.push_back(std::vector<float>(256, -1.0f));
  blocks.push_back(std::vector<float>(256, 1e-40f));  // subnormal
  blocks.push_back(std::vector<float>(256, 1e-7f));   // below the f16 scale
  blocks.push_back(std::vector<float>(256, 0.0f));
  blocks.back()[100] = 1000.0f;  // one outlier
  blocks.push_back(std::vector<float>(256, 5.0f));
  blocks.back()[0] = -3.0f;
  blocks.push_back(gaussian(256, 3e4f / 8));
  for (int t = 0; t < kQuantTypeCount; ++t) {
    const auto type = static_cast<QuantType>(t);
    if (!quant_info(type).can_encode) continue;
    for (const std::vector<float>& block : blocks) {
      const std::vector<float> got = decoded(type, encoded(type, block), 256);
      float largest = 0.0f;
      for (const float x : block) largest = std::max(largest, std::fabs(x));
      for (int i = 0; i < 256; ++i) {
        // No more than a step of the coarsest type away.
        ASSERT_LE(std::fabs(got[i] - block[i]), 0.26f * largest + 1e-7f)
            << quant_info(type).name << " " << block[i];
      }
    }
  }
}

TEST(QuantTypes, RefusesWhatItCannotHold) {
  for (int t = 0; t < kQuantTypeCount; ++t) {
    const auto type = static_cast<QuantType>(t);
    std::vector<float> values(512, 1.0f);
    const auto kind_of = [&] {
      try {
        encoded(type, values);
      } catch (const Error& error) {
        return error.kind();
      }
      return ErrorKind::kInterrupted;
    };
    if (!quant_info(type).can_encode) {
      EXPECT_EQ(kind_of(), ErrorKind::kUnsupported);
      continue;
    }
    for (const float bad : {INFINITY, -INFINITY, NAN}) {
      values[300] = bad;
      EXPECT_EQ(kind_of(), ErrorKind::kNumeric) << quant_info(type).name;
    }
    values[300] = 3e38f;
    const bool wide = type == QuantType::kF32 || type == QuantType::kBF16;
    EXPECT_EQ(kind_of() == ErrorKind::kNumeric, !wide && type != QuantType::kMXFP4)
        << quant_info(type).name;
  }
}

TEST(QuantTypes, NamesAndSizes) {
  EXPECT_EQ(parse_quant_type("Q4_K"), QuantType::kQ4_K);
  EXPECT_EQ(parse_quant_type("iq4_xs"), QuantType::kIQ4_XS);
  EXPECT_FALSE(parse_quant_type("Q4").has_value());
  EXPECT_FALSE(parse_quant_type("").has_value());
  EXPECT_EQ(quant_bits(QuantType::kQ4_K), 4.5);
  EXPECT_EQ(quant_bits(QuantType::kQ8_0), 8.5);
  EXPECT_EQ(quant_bits(QuantType::kMXFP4), 4.25);
  EXPECT_EQ(quant_bytes(QuantType::kQ6_K, 1024), 840);
  for (int t = 0; t < kQuantTypeCount; ++t) {
    const auto type = static_cast<QuantType>(t);
    EXPECT_EQ(quant_info(type).type, type);
    EXPECT_EQ(parse_quant_type(quant_info(type).name), type);
  }
}

}  // namespace
}  // namespace conclave
