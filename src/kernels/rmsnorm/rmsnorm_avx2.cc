#include "kernels/rmsnorm/rmsnorm_body.h"
#include "kernels/simd/simd_avx2.h"

namespace conclave::kernels {

extern constinit const RmsNormKernel kRmsNormAvx2 = RmsNormBody<Simd256>::kernel(sys::Isa::kAvx2);

}  // namespace conclave::kernels
