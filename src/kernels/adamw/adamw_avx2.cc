#include "kernels/adamw/adamw_body.h"
#include "kernels/simd/simd_avx2.h"

namespace conclave::kernels {

extern constinit const AdamWKernel kAdamWAvx2 = AdamWBody<Simd256>::kernel(sys::Isa::kAvx2);

}  // namespace conclave::kernels
