#include "kernels/simd/simd_avx512.h"
#include "kernels/swiglu/swiglu_body.h"

namespace conclave::kernels {

extern constinit const SwigluKernel kSwigluAvx512 = SwigluBody<Simd512>::kernel(sys::Isa::kAvx512);

}  // namespace conclave::kernels
