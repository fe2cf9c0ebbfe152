// The list of quantised products, and what a left tile holds for each type.
#include "kernels/qmatmul/qmatmul_kernels.h"

#include <array>
#include <cstring>

#include "base/error.h"
#include "kernels/qmatmul/qmatmul_list.h"

namespace conclave::kernels {
namespace {

// [n][kBytes] of each row, from `at[0]` on, as [n][m][kBytes] from `at[1]` on.
template <std::size_t kBytes>
void interleave(const std::byte* const* rows, std::int64_t m, std::int64_t n,
                std::array<std::int64_t, 2> at, std::byte* left) {
  constexpr auto kStep = static_cast<std::int64_t>(kBytes);
  for (std::int64_t r = 0; r < m; ++r) {
    const std::byte* from = rows[r] + at[0];
    std::byte* to = left + at[1] + r * kStep;
    for (std::int64_t i = 0; i < n; ++i, from += kStep, to += m * kStep) {
      std::memcpy(to, from, kBytes);
    }
  }
}

}  // namespace

std::span<const QuantKernels> quant_kernels() {
  static const std::array kAll = {kQuantReference, kQuantAvx2, kQuantAvx512Vnni};
  return kAll;
}

// Offsets: levels of IQ4 types go from -127 to 113 and of MXFP4 from -12 to 12; they are held
// unsigned too. See the traits in qmatmul_types.h. Products by pairs take bytes as signed words.
QuantLeftLayout quant_left_layout(QuantType type, bool pairs) {
  const QuantSums start32 = pairs ? QuantSums::kPairStart32 : QuantSums::kStart32;
  const QuantSums start16 = pairs ? QuantSums::kPairStart16 : QuantSums::kStart16;
  const auto bytes = [&](int group) {
    return pairs ? QuantLeftLayout{group, QuantSums::kNone, 0, 2}
                 : QuantLeftLayout{group, QuantSums::kStart32, 128};
  };
  switch (type) {
    case QuantType::kQ4_0:
      return {32, start32, 8};
    case QuantType::kQ5_0:
    case QuantType::kMXFP4:
      return {32, start32, 16};
    case QuantType::kQ8_0:
    case QuantType::kIQ4_NL:
      return bytes(32);
    case QuantType::kQ4_1:
    case QuantType::kQ5_1:
      return {32, QuantSums::kScaled32, 0};
    case QuantType::kQ4_K:
    case QuantType::kQ5_K:
      return {256, QuantSums::kPairs32, 0};
    case QuantType::kQ2_K:
      return {256, QuantSums::kPairs16, 0};
    case QuantType::kQ3_K:
      return {256, start16, 4};
    case QuantType::kQ6_K:
      return {256, start16, 32};
    case QuantType::kIQ4_XS:
      return bytes(256);
    default:
      break;
  }
  CONCLAVE_CHECK(false, "{} is not a type of blocks", quant_info(type).name);
}

void join_left_rows(const QuantLeftLayout& layout, const std::byte* const* rows, std::int64_t m,
                    std::int64_t k, std::byte* left) noexcept {
  if (layout.number_bytes == 1) {
    interleave<32>(rows, m, k / 32, {0, 0}, left);
  } else {
    interleave<64>(rows, m, k / 32, {0, 0}, left);
  }
  const std::array scales = {layout.scales_at(1, k), layout.scales_at(m, k)};
  interleave<4>(rows, m, k / layout.scale_group, scales, left);
  const std::array sums = {layout.sums_at(1, k), layout.sums_at(m, k)};
  switch (layout.sums) {
    case QuantSums::kNone:
      return;
    case QuantSums::kStart32:
    case QuantSums::kPairStart32:
    case QuantSums::kScaled32:
      return interleave<4>(rows, m, k / 32, sums, left);
    case QuantSums::kStart16:
    case QuantSums::kPairStart16:
      return interleave<8>(rows, m, k / 32, sums, left);
    case QuantSums::kPairs32:
      return interleave<16>(rows, m, k / 256, sums, left);
    case QuantSums::kPairs16:
      return interleave<32>(rows, m, k / 256, sums, left);
  }
}

}  // namespace conclave::kernels
