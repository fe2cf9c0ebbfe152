#include "io/gguf_types.h"

#include <array>

#include "base/error.h"

namespace conclave::io {
namespace {

using enum QuantType;

constexpr std::array<GgufTypeInfo, 34> kTypes = {{{0, "F32", 1, 4, kF32},
                                                  {1, "F16", 1, 2, kF16},
                                                  {2, "Q4_0", 32, 18, kQ4_0},
                                                  {3, "Q4_1", 32, 20, kQ4_1},
                                                  {6, "Q5_0", 32, 22, kQ5_0},
                                                  {7, "Q5_1", 32, 24, kQ5_1},
                                                  {8, "Q8_0", 32, 34, kQ8_0},
                                                  {9, "Q8_1", 32, 40, {}},
                                                  {10, "Q2_K", 256, 84, kQ2_K},
                                                  {11, "Q3_K", 256, 110, kQ3_K},
                                                  {12, "Q4_K", 256, 144, kQ4_K},
                                                  {13, "Q5_K", 256, 176, kQ5_K},
                                                  {14, "Q6_K", 256, 210, kQ6_K},
                                                  {15, "Q8_K", 256, 292, {}},
                                                  {16, "IQ2_XXS", 256, 66, {}},
                                                  {17, "IQ2_XS", 256, 74, {}},
                                                  {18, "IQ3_XXS", 256, 98, {}},
                                                  {19, "IQ1_S", 256, 50, {}},
                                                  {20, "IQ4_NL", 32, 18, kIQ4_NL},
                                                  {21, "IQ3_S", 256, 110, {}},
                                                  {22, "IQ2_S", 256, 82, {}},
                                                  {23, "IQ4_XS", 256, 136, kIQ4_XS},
                                                  {24, "I8", 1, 1, {}},
                                                  {25, "I16", 1, 2, {}},
                                                  {26, "I32", 1, 4, {}},
                                                  {27, "I64", 1, 8, {}},
                                                  {28, "F64", 1, 8, {}},
                                                  {29, "IQ1_M", 256, 56, {}},
                                                  {30, "BF16", 1, 2, kBF16},
                                                  {34, "TQ1_0", 256, 54, {}},
                                                  {35, "TQ2_0", 256, 66, {}},
                                                  {39, "MXFP4", 32, 17, kMXFP4},
                                                  {40, "NVFP4", 64, 36, {}},
                                                  {41, "Q1_0", 128, 18, {}}}};

}  // namespace

const GgufTypeInfo* find_gguf_type(std::uint32_t id) {
  for (const GgufTypeInfo& type : kTypes)
    if (type.id == id) return &type;
  return nullptr;
}

const GgufTypeInfo& gguf_type_of(QuantType type) {
  for (const GgufTypeInfo& info : kTypes)
    if (info.quant == type) return info;
  CONCLAVE_CHECK(false, "type {}", static_cast<int>(type));
  return kTypes[0];
}

}  // namespace conclave::io
