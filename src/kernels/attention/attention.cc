#include "kernels/attention/attention.h"

#include "kernels/attention/attention_reference.h"

namespace conclave::kernels {

extern const AttentionKernel kAttentionAvx2, kAttentionAvx512;

std::span<const AttentionKernel> attention_kernels() {
  static const AttentionKernel kList[] = {
      {sys::Isa::kReference, 16, reference::attention_no_scratch,
       reference::attention_forward<float>, nullptr, nullptr, nullptr, reference::to_half,
       reference::to_q8, reference::attention_no_scratch, reference::attention_backward<float>},
      kAttentionAvx2,
      kAttentionAvx512,
  };
  return kList;
}

}  // namespace conclave::kernels
