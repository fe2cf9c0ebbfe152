#include "kernels/adamw/adamw.h"

#include "kernels/adamw/adamw_reference.h"

namespace conclave::kernels {

extern const AdamWKernel kAdamWAvx2, kAdamWAvx512;

std::span<const AdamWKernel> adamw_kernels() {
  static const AdamWKernel kList[] = {
      {sys::Isa::kReference, reference::adamw_step<float>},
      kAdamWAvx2,
      kAdamWAvx512,
  };
  return kList;
}

}  // namespace conclave::kernels
