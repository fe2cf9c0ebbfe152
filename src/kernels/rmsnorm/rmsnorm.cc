#include "kernels/rmsnorm/rmsnorm.h"

#include "kernels/rmsnorm/rmsnorm_reference.h"

namespace conclave::kernels {

std::span<const RmsNormKernel> rmsnorm_kernels() {
  static const RmsNormKernel kList[] = {
      {sys::Isa::kReference, reference::rmsnorm_forward<float>,
       reference::rmsnorm_backward_input<float>, reference::rmsnorm_backward_weight<float>},
  };
  return kList;
}

}  // namespace conclave::kernels
