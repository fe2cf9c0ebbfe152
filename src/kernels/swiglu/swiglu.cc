#include "kernels/swiglu/swiglu.h"

#include "kernels/swiglu/swiglu_reference.h"

namespace conclave::kernels {

extern const SwigluKernel kSwigluAvx2, kSwigluAvx512;

std::span<const SwigluKernel> swiglu_kernels() {
  static const SwigluKernel kList[] = {
      {sys::Isa::kReference, reference::swiglu_forward<float>, reference::swiglu_backward<float>},
      kSwigluAvx2,
      kSwigluAvx512,
  };
  return kList;
}

}  // namespace conclave::kernels
