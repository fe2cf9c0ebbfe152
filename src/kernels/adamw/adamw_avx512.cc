#include "kernels/adamw/adamw_body.h"
#include "kernels/simd/simd_avx512.h"

namespace conclave::kernels {

extern constinit const AdamWKernel kAdamWAvx512 = AdamWBody<Simd512>::kernel(sys::Isa::kAvx512);

}  // namespace conclave::kernels
