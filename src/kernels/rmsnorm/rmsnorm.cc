#include "kernels/rmsnorm/rmsnorm.h"

#include "kernels/rmsnorm/rmsnorm_reference.h"

namespace conclave::kernels {

extern const RmsNormKernel kRmsNormAvx2, kRmsNormAvx512;

std::span<const RmsNormKernel> rmsnorm_kernels() {
  static const RmsNormKernel kList[] = {
      {sys::Isa::kReference, reference::rmsnorm_forward<float>,
       reference::rmsnorm_backward_input<float>, reference::rmsnorm_backward_weight<float>},
      kRmsNormAvx2,
      kRmsNormAvx512,
  };
  return kList;
}

}  // namespace conclave::kernels
