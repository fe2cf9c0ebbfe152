// The plain loops: the fallback of machines without AVX2, and what the others are tested against.
// The product decodes a row of weights to f32 (tensor/quant_types.h) and knows nothing of how the
// fast kernels take blocks apart.
#pragma once

#include "kernels/qmatmul/qmatmul_kernels.h"

namespace conclave::kernels {

void quantize_left_reference(QuantType type, const float* x, std::int64_t stride, std::int64_t m,
                             std::int64_t k, std::byte* left) noexcept;
void quant_product_reference(const QuantTile& tile) noexcept;

}  // namespace conclave::kernels
