#include "kernels/adamw/adamw.h"

#include "kernels/adamw/adamw_reference.h"

namespace conclave::kernels {

std::span<const AdamWKernel> adamw_kernels() {
  static const AdamWKernel kList[] = {
      {sys::Isa::kReference, reference::adamw_step<float>},
  };
  return kList;
}

}  // namespace conclave::kernels
