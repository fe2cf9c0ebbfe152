// Keys and values of one sequence in tests and benchmarks, in blocks as nn::KvCache makes them: of
// all layers together, one allocation each.
#pragma once

#include <vector>

#include "ops/attention.h"

namespace conclave::ops::testing {

// T: float or f16.
template <class T>
struct KvMemory {
  std::vector<std::vector<T>> memory;
  std::vector<std::byte*> blocks;
  std::int64_t layer_bytes;

  KvMemory(int n_layers, const AttentionShape& shape, std::int64_t positions, T fill)
      : layer_bytes(kv_block_bytes(shape.n_kv_heads, shape.head_dim, DTypeOf<T>::value)) {
    const std::int64_t count = (positions + kKeyBlock - 1) / kKeyBlock;
    const auto size = static_cast<std::size_t>(layer_bytes * n_layers) / sizeof(T);
    memory.assign(static_cast<std::size_t>(count), std::vector<T>(size, fill));
  }
  // Valid until the next call or the object moves.
  KvView view(int layer = 0) {
    blocks.clear();
    for (std::vector<T>& block : memory) {
      blocks.push_back(reinterpret_cast<std::byte*>(block.data()));
    }
    return {blocks.data(), static_cast<std::int64_t>(blocks.size()), layer * layer_bytes,
            DTypeOf<T>::value};
  }
};

}  // namespace conclave::ops::testing
