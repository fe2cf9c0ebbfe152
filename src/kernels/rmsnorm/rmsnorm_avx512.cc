#include "kernels/rmsnorm/rmsnorm_body.h"
#include "kernels/simd/simd_avx512.h"

namespace conclave::kernels {

extern constinit const RmsNormKernel kRmsNormAvx512 =
    RmsNormBody<Simd512>::kernel(sys::Isa::kAvx512);

}  // namespace conclave::kernels
