// The choice from the list of matrix product kernels.
#include "kernels/matmul/matmul_kernels.h"

#include "base/error.h"
#include "kernels/matmul/matmul_list.h"

namespace conclave::kernels {
namespace {

#define CONCLAVE_MATMUL_ADDRESS(name) &name,
constexpr const MatmulKernels* kAll[] = {CONCLAVE_MATMUL_KERNELS(CONCLAVE_MATMUL_ADDRESS)};
#undef CONCLAVE_MATMUL_ADDRESS

}  // namespace

std::span<const MatmulKernels* const> all_matmul_kernels() { return kAll; }

const MatmulKernels& matmul_kernels(sys::Isa isa, DType compute) {
  const MatmulKernels* best = nullptr;
  for (const MatmulKernels* kernels : kAll) {
    if (kernels->compute == compute && kernels->isa <= isa) best = kernels;
  }
  CONCLAVE_CHECK(best != nullptr, "no matrix product in {}", dtype_name(compute));
  return *best;
}

}  // namespace conclave::kernels
