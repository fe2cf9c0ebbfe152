// The list of matrix product kernels, weakest first: one line here and one definition in the file
// of its instruction set, and a kernel is chosen, tested and measured.
#pragma once

#include "kernels/matmul/matmul_kernels.h"

#define CONCLAVE_MATMUL_KERNELS(X) \
  X(kMatmulF32Reference)           \
  X(kMatmulBf16Reference)          \
  X(kMatmulF16Reference)           \
  X(kMatmulF32Avx2)                \
  X(kMatmulBf16Avx2)               \
  X(kMatmulF16Avx2)                \
  X(kMatmulF32Avx512)              \
  X(kMatmulBf16Avx512)             \
  X(kMatmulF16Avx512)              \
  X(kMatmulBf16Avx512Bf16)

namespace conclave::kernels {

#define CONCLAVE_MATMUL_DECLARE(name) extern const MatmulKernels name;
CONCLAVE_MATMUL_KERNELS(CONCLAVE_MATMUL_DECLARE)
#undef CONCLAVE_MATMUL_DECLARE

}  // namespace conclave::kernels
