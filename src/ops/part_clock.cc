#include "ops/part_clock.h"

namespace conclave::ops {

const char* part_name(ModelPart part) {
  switch (part) {
    case ModelPart::kRouter:
      return "router";
    case ModelPart::kPermute:
      return "permute";
    case ModelPart::kExperts:
      return "experts";
    case ModelPart::kAttention:
      return "attention";
    case ModelPart::kDense:
      return "dense";
    case ModelPart::kHead:
      return "head";
    case ModelPart::kRest:
    case ModelPart::kCount:
      break;
  }
  return "rest";
}

}  // namespace conclave::ops
