#include "kernels/elementwise/elementwise_body.h"
#include "kernels/simd/simd_avx512.h"

namespace conclave::kernels {

extern constinit const ElementwiseKernel kElementwiseAvx512 =
    ElementwiseBody<Simd512>::kernel(sys::Isa::kAvx512);

}  // namespace conclave::kernels
