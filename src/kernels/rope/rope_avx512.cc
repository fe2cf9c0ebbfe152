#include "kernels/rope/rope_body.h"
#include "kernels/simd/simd_avx512.h"

namespace conclave::kernels {

extern constinit const RopeKernel kRopeAvx512 = RopeBody<Simd512>::kernel(sys::Isa::kAvx512);

}  // namespace conclave::kernels
