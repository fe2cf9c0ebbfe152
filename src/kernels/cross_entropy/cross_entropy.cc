#include "kernels/cross_entropy/cross_entropy.h"

#include "kernels/cross_entropy/cross_entropy_reference.h"

namespace conclave::kernels {

extern const CrossEntropyKernel kCrossEntropyAvx2, kCrossEntropyAvx512;

std::span<const CrossEntropyKernel> cross_entropy_kernels() {
  static const CrossEntropyKernel kList[] = {
      {sys::Isa::kReference, reference::cross_entropy_forward<float>,
       reference::cross_entropy_forward_backward<float>},
      kCrossEntropyAvx2,
      kCrossEntropyAvx512,
  };
  return kList;
}

}  // namespace conclave::kernels
