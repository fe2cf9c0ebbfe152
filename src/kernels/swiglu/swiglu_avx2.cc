#include "kernels/simd/simd_avx2.h"
#include "kernels/swiglu/swiglu_body.h"

namespace conclave::kernels {

extern constinit const SwigluKernel kSwigluAvx2 = SwigluBody<Simd256>::kernel(sys::Isa::kAvx2);

}  // namespace conclave::kernels
