#include "kernels/cross_entropy/cross_entropy_body.h"
#include "kernels/simd/simd_avx2.h"

namespace conclave::kernels {

extern constinit const CrossEntropyKernel kCrossEntropyAvx2 =
    CrossEntropyBody<Simd256>::kernel(sys::Isa::kAvx2);

}  // namespace conclave::kernels
