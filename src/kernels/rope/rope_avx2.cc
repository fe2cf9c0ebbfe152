#include "kernels/rope/rope_body.h"
#include "kernels/simd/simd_avx2.h"

namespace conclave::kernels {

extern constinit const RopeKernel kRopeAvx2 = RopeBody<Simd256>::kernel(sys::Isa::kAvx2);

}  // namespace conclave::kernels
