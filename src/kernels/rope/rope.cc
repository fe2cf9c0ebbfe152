#include "kernels/rope/rope.h"

#include "kernels/rope/rope_reference.h"

namespace conclave::kernels {

std::span<const RopeKernel> rope_kernels() {
  static const RopeKernel kList[] = {
      {sys::Isa::kReference, reference::rope_rotate<float>},
  };
  return kList;
}

}  // namespace conclave::kernels
