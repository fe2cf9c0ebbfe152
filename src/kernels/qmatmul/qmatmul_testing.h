// Weights in blocks of any quantised type, for tests and benchmarks.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/dtype.h"
#include "base/rng.h"
#include "kernels/qmatmul/qmatmul_layout.h"

namespace conclave::testing {

inline std::vector<QuantType> quantised_types() {
  std::vector<QuantType> types;
  for (int t = 0; t < kQuantTypeCount; ++t) {
    const auto type = static_cast<QuantType>(t);
    if (kernels::quant_layout(type) != nullptr) types.push_back(type);
  }
  return types;
}

// `count` numbers as blocks of random bits, with factors near `factor` of either sign (MXFP4: its
// own).
inline std::vector<std::byte> random_blocks(QuantType type, std::int64_t count, std::uint64_t seed,
                                            double factor = 0.01) {
  const kernels::QuantLayout& layout = *kernels::quant_layout(type);
  std::vector<std::byte> bytes(static_cast<std::size_t>(quant_bytes(type, count)));
  const Rng rng(seed);
  std::uint64_t drawn = 0;
  for (std::size_t i = 0; i < bytes.size(); i += 8) {
    const std::uint64_t bits = rng.bits(drawn++);
    std::memcpy(bytes.data() + i, &bits, std::min<std::size_t>(8, bytes.size() - i));
  }
  for (std::size_t at = 0; at < bytes.size(); at += static_cast<std::size_t>(layout.block_bytes)) {
    std::byte* factors = bytes.data() + at + layout.factors_at;
    if (layout.factor_bytes == 1) {
      factors[0] = static_cast<std::byte>(116 + static_cast<int>(rng.uniform(drawn++) * 8));
      continue;
    }
    const int drawn_factors = type == QuantType::kIQ4_XS ? 1 : layout.n_factors;
    for (int t = 0; t < drawn_factors; ++t) {
      const f16 drawn_factor = to_f16(static_cast<float>(factor * rng.normal(drawn++)));
      std::memcpy(factors + 2 * t, &drawn_factor, 2);
    }
  }
  return bytes;
}

}  // namespace conclave::testing
