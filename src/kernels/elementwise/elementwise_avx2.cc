#include "kernels/elementwise/elementwise_body.h"
#include "kernels/simd/simd_avx2.h"

namespace conclave::kernels {

extern constinit const ElementwiseKernel kElementwiseAvx2 =
    ElementwiseBody<Simd256>::kernel(sys::Isa::kAvx2);

}  // namespace conclave::kernels
