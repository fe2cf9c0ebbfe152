// The kernels of quantised products by instruction set. The plain loops are the fallback of
// machines without AVX2, and what the others are tested against: the product decodes a row of
// weights to f32 (tensor/quant_types.h) and knows nothing of how the fast kernels take blocks
// apart.
#pragma once

#include "kernels/qmatmul/qmatmul_kernels.h"

namespace conclave::kernels {

// A left tile of any layout.
void quantize_left_reference(const QuantLeftLayout& layout, const float* const* rows,
                             std::int64_t m, std::int64_t k, std::byte* left) noexcept;

extern const QuantKernels kQuantReference;
extern const QuantKernels kQuantAvx2;
extern const QuantKernels kQuantAvx512Vnni;

}  // namespace conclave::kernels
