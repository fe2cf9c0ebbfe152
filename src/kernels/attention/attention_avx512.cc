#include "kernels/attention/attention_body.h"
#include "kernels/simd/simd_avx512.h"

namespace conclave::kernels {

extern constinit const AttentionKernel kAttentionAvx512 =
    AttentionBody<Simd512>::kernel(sys::Isa::kAvx512);

}  // namespace conclave::kernels
