#include "kernels/swiglu/swiglu.h"

#include "kernels/swiglu/swiglu_reference.h"

namespace conclave::kernels {

std::span<const SwigluKernel> swiglu_kernels() {
  static const SwigluKernel kList[] = {
      {sys::Isa::kReference, reference::swiglu_forward<float>, reference::swiglu_backward<float>},
  };
  return kList;
}

}  // namespace conclave::kernels
