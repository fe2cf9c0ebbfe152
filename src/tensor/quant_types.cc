#include "tensor/quant_types.h"

#include <array>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "tensor/quant_blocks.h"

namespace conclave {
namespace {

using Decode = void (*)(const std::byte* blocks, std::int64_t n_blocks, float* out) noexcept;
// Index of the first block that does not fit, or n_blocks.
using Encode = std::int64_t (*)(const float* values, const float* importance, std::int64_t n_blocks,
                                std::byte* blocks) noexcept;

template <class Block>
void decode_blocks(const std::byte* blocks, std::int64_t n_blocks, float* out) noexcept {
  for (std::int64_t b = 0; b < n_blocks; ++b) {
    Block block;
    std::memcpy(&block, blocks + b * static_cast<std::int64_t>(sizeof(Block)), sizeof(Block));
    quant::decode(block, out + b * Block::kCount);
  }
}

template <class T>
void decode_floats(const std::byte* blocks, std::int64_t n, float* out) noexcept {
  for (std::int64_t i = 0; i < n; ++i) {
    T value;
    std::memcpy(&value, blocks + i * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
    out[i] = to_float(value);
  }
}

template <class Block>
std::int64_t encode_blocks(const float* values, const float* importance, std::int64_t n_blocks,
                           std::byte* blocks) noexcept {
  for (std::int64_t b = 0; b < n_blocks; ++b) {
    Block block;
    const float* const weights = importance == nullptr ? nullptr : importance + b * Block::kCount;
    if (!quant::encode(values + b * Block::kCount, weights, block)) return b;
    std::memcpy(blocks + b * static_cast<std::int64_t>(sizeof(Block)), &block, sizeof(Block));
  }
  return n_blocks;
}

template <class T, T (*kConvert)(float)>
std::int64_t encode_floats(const float* values, const float*, std::int64_t n,
                           std::byte* blocks) noexcept {
  for (std::int64_t i = 0; i < n; ++i) {
    const T value = kConvert(values[i]);
    if (std::isinf(to_float(value))) return i;
    std::memcpy(blocks + i * static_cast<std::int64_t>(sizeof(T)), &value, sizeof(T));
  }
  return n;
}

float same(float value) { return value; }

struct Row {
  QuantInfo info;
  Decode decode;
  Encode encode;
};

// Whether a block type can be written is said apart from the function: under -fsanitize=undefined
// GCC 12 does not take the comparison of its address with null for a constant.
template <class Block>
constexpr Row block_row(QuantType type, const char* name) {
  return {{type, name, Block::kCount, sizeof(Block), false}, &decode_blocks<Block>, nullptr};
}
template <class Block>
constexpr Row block_row(QuantType type, const char* name, Encode encode) {
  return {{type, name, Block::kCount, sizeof(Block), true}, &decode_blocks<Block>, encode};
}

template <class T>
constexpr Row float_row(QuantType type, const char* name, Encode encode) {
  return {{type, name, 1, sizeof(T), true}, &decode_floats<T>, encode};
}

using namespace quant;

constexpr std::array<Row, kQuantTypeCount> kRows = {
    float_row<float>(QuantType::kF32, "F32", &encode_floats<float, same>),
    float_row<f16>(QuantType::kF16, "F16", &encode_floats<f16, to_f16>),
    float_row<bf16>(QuantType::kBF16, "BF16", &encode_floats<bf16, to_bf16>),
    block_row<BlockQ4_0>(QuantType::kQ4_0, "Q4_0", &encode_blocks<BlockQ4_0>),
    block_row<BlockQ4_1>(QuantType::kQ4_1, "Q4_1"),
    block_row<BlockQ5_0>(QuantType::kQ5_0, "Q5_0"),
    block_row<BlockQ5_1>(QuantType::kQ5_1, "Q5_1"),
    block_row<BlockQ8_0>(QuantType::kQ8_0, "Q8_0", &encode_blocks<BlockQ8_0>),
    block_row<BlockQ2_K>(QuantType::kQ2_K, "Q2_K"),
    block_row<BlockQ3_K>(QuantType::kQ3_K, "Q3_K"),
    block_row<BlockQ4_K>(QuantType::kQ4_K, "Q4_K", &encode_blocks<BlockQ4_K>),
    block_row<BlockQ5_K>(QuantType::kQ5_K, "Q5_K", &encode_blocks<BlockQ5_K>),
    block_row<BlockQ6_K>(QuantType::kQ6_K, "Q6_K", &encode_blocks<BlockQ6_K>),
    block_row<BlockIQ4_NL>(QuantType::kIQ4_NL, "IQ4_NL"),
    block_row<BlockIQ4_XS>(QuantType::kIQ4_XS, "IQ4_XS"),
    block_row<BlockMXFP4>(QuantType::kMXFP4, "MXFP4", &encode_blocks<BlockMXFP4>)};

const Row& row_of(QuantType type) { return kRows[static_cast<std::size_t>(type)]; }

bool same_name(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const char upper = a[i] >= 'a' && a[i] <= 'z' ? static_cast<char>(a[i] - 'a' + 'A') : a[i];
    if (upper != b[i]) return false;
  }
  return true;
}

}  // namespace

const QuantInfo& quant_info(QuantType type) { return row_of(type).info; }

std::optional<QuantType> parse_quant_type(std::string_view name) {
  for (const Row& row : kRows)
    if (same_name(name, row.info.name)) return row.info.type;
  return std::nullopt;
}

double quant_bits(QuantType type) {
  const QuantInfo& info = quant_info(type);
  return 8.0 * info.block_bytes / info.block_count;
}

std::int64_t quant_bytes(QuantType type, std::int64_t count) {
  const QuantInfo& info = quant_info(type);
  CONCLAVE_CHECK(count % info.block_count == 0, "{} numbers in blocks of {}", count,
                 info.block_count);
  return count / info.block_count * info.block_bytes;
}

void dequantize(QuantType type, const std::byte* blocks, std::int64_t count, float* out) noexcept {
  const Row& row = row_of(type);
  row.decode(blocks, count / row.info.block_count, out);
}

void quantize(QuantType type, std::span<const float> values, std::span<std::byte> blocks,
              std::span<const float> importance) {
  const Row& row = row_of(type);
  const auto count = static_cast<std::int64_t>(values.size());
  CONCLAVE_CHECK(static_cast<std::int64_t>(blocks.size()) == quant_bytes(type, count) &&
                     (importance.empty() || importance.size() == values.size()),
                 "{} numbers, {} weights, {} bytes", count, importance.size(), blocks.size());
  if (row.encode == nullptr) {
    fail(ErrorKind::kUnsupported, "{} can be read but not written; write Q8_0 or Q4_K instead",
         row.info.name);
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      fail(ErrorKind::kNumeric, "element {} is {}, which {} cannot hold", i, values[i],
           row.info.name);
    }
  }
  const std::int64_t n_blocks = count / row.info.block_count;
  const std::int64_t done = row.encode(
      values.data(), importance.empty() ? nullptr : importance.data(), n_blocks, blocks.data());
  if (done != n_blocks) {
    fail(ErrorKind::kNumeric, "elements {} to {} hold a number too large for {}",
         done * row.info.block_count, (done + 1) * row.info.block_count - 1, row.info.name);
  }
}

}  // namespace conclave
