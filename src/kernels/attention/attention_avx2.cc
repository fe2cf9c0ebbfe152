#include "kernels/attention/attention_body.h"
#include "kernels/simd/simd_avx2.h"

namespace conclave::kernels {

extern constinit const AttentionKernel kAttentionAvx2 =
    AttentionBody<Simd256>::kernel(sys::Isa::kAvx2);

}  // namespace conclave::kernels
