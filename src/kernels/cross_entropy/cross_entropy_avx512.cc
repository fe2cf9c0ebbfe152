#include "kernels/cross_entropy/cross_entropy_body.h"
#include "kernels/simd/simd_avx512.h"

namespace conclave::kernels {

extern constinit const CrossEntropyKernel kCrossEntropyAvx512 =
    CrossEntropyBody<Simd512>::kernel(sys::Isa::kAvx512);

}  // namespace conclave::kernels
