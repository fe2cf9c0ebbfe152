// Quantised types of weights: blocks of 32 or 256 numbers with shared scales, laid out as GGUF
// files store them (ggml, ggml-common.h), so that a file's bytes are computed with as they are.
// Decoding is exact: the f32 operations of the format's reference, in its order, not contracted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace conclave {

enum class QuantType : std::uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
  kIQ4_XS,
  kMXFP4,
};
inline constexpr int kQuantTypeCount = 16;

struct QuantInfo {
  QuantType type;
  const char* name;  // "Q4_K", as in GGUF tools
  int block_count;   // numbers in a block: 1, 32 or 256
  int block_bytes;   // bytes of a block
  bool can_encode;   // quantize() takes it
};
const QuantInfo& quant_info(QuantType type);
// By name, upper or lower case; nothing for a name that is none.
std::optional<QuantType> parse_quant_type(std::string_view name);
// Bits per number, with the scales: 4.5 for Q4_K.
double quant_bits(QuantType type);

// Bytes of `count` numbers, a multiple of the block; count x bytes must fit (rows that exist do).
std::int64_t quant_bytes(QuantType type, std::int64_t count);

// out[0, count) from `blocks`, which may be unaligned; count is a multiple of the block.
void dequantize(QuantType type, const std::byte* blocks, std::int64_t count, float* out) noexcept;

// `values` into `blocks` of quant_bytes(type, values.size()) bytes; the size is a multiple of the
// block. F16 and BF16 round to nearest even; Q4_0, Q8_0 and MXFP4 give the bytes of ggml's
// reference; Q4_K, Q5_K and Q6_K search scales that minimise the sum of importance x error^2.
// `importance` (as many numbers, not negative, e.g. the mean square of the input that meets each
// weight; or empty: all equal) is used by the latter only.
// Throws Error(kNumeric) where a value is not finite or too large for the type's f16 scale, and
// Error(kUnsupported) where can_encode is false.
void quantize(QuantType type, std::span<const float> values, std::span<std::byte> blocks,
              std::span<const float> importance = {});

}  // namespace conclave
