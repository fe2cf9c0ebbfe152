// The list of quantised products, and what a left tile holds for each type.
#include "kernels/qmatmul/qmatmul_kernels.h"

#include <array>

#include "base/error.h"
#include "kernels/qmatmul/qmatmul_reference.h"

namespace conclave::kernels {
namespace {

constexpr QuantKernels kReference = {sys::Isa::kReference, quantize_left_reference,
                                     quant_product_reference};

}  // namespace

std::span<const QuantKernels> quant_kernels() {
  static const std::array kAll = {kReference};
  return kAll;
}

// Offsets: levels of IQ4 types go from -127 to 113 and of MXFP4 from -12 to 12; they are held
// unsigned too. See the traits in qmatmul_types.h.
QuantLeftLayout quant_left_layout(QuantType type) {
  switch (type) {
    case QuantType::kQ4_0:
      return {32, QuantSums::kStart32, 8};
    case QuantType::kQ5_0:
    case QuantType::kMXFP4:
      return {32, QuantSums::kStart32, 16};
    case QuantType::kQ8_0:
    case QuantType::kIQ4_NL:
      return {32, QuantSums::kStart32, 128};
    case QuantType::kQ4_1:
    case QuantType::kQ5_1:
      return {32, QuantSums::kScaled32, 0};
    case QuantType::kQ4_K:
    case QuantType::kQ5_K:
      return {256, QuantSums::kPairs32, 0};
    case QuantType::kQ2_K:
      return {256, QuantSums::kPairs16, 0};
    case QuantType::kQ3_K:
      return {256, QuantSums::kStart16, 4};
    case QuantType::kQ6_K:
      return {256, QuantSums::kStart16, 32};
    case QuantType::kIQ4_XS:
      return {256, QuantSums::kStart32, 128};
    default:
      break;
  }
  CONCLAVE_CHECK(false, "{} is not a type of blocks", quant_info(type).name);
}

}  // namespace conclave::kernels
