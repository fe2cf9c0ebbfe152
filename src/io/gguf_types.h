// Element types as GGUF files number them (ggml.h, enum ggml_type). Sizes are known for all of
// them, so that a file can be opened, listed and copied even where a tensor cannot be decoded.
#pragma once

#include <cstdint>
#include <optional>

#include "tensor/quant_types.h"

namespace conclave::io {

struct GgufTypeInfo {
  std::uint32_t id;
  const char* name;                // "Q4_K"
  int block_count;                 // numbers in a block
  int block_bytes;                 // bytes of a block
  std::optional<QuantType> quant;  // where it can be decoded
};

// Null for a number that is no type, or one that was removed from the format.
const GgufTypeInfo* find_gguf_type(std::uint32_t id);
const GgufTypeInfo& gguf_type_of(QuantType type);

}  // namespace conclave::io
