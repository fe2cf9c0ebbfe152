#include "kernels/rope/rope.h"

#include "kernels/rope/rope_reference.h"

namespace conclave::kernels {

extern const RopeKernel kRopeAvx2, kRopeAvx512;

std::span<const RopeKernel> rope_kernels() {
  static const RopeKernel kList[] = {
      {sys::Isa::kReference, reference::rope_rotate<float>},
      kRopeAvx2,
      kRopeAvx512,
  };
  return kList;
}

}  // namespace conclave::kernels
