// Keys and values of one sequence in tests and benchmarks, in blocks as nn::KvCache makes them: of
// all layers together, one allocation each.
#pragma once

#include <vector>

#include "ops/attention.h"

namespace conclave::ops::testing {

template <KvType kType>
struct KvMemory {
  std::vector<std::vector<std::byte>> memory;
  std::vector<std::byte*> blocks;
  std::int64_t layer_bytes;

  // Every byte is 0xff, which is NaN in f32 and f16.
  KvMemory(int n_layers, const AttentionShape& shape, std::int64_t positions)
      : layer_bytes(kv_block_bytes(shape.n_kv_heads, shape.head_dim, kType)) {
    const std::int64_t count = (positions + kKeyBlock - 1) / kKeyBlock;
    const auto size = static_cast<std::size_t>(layer_bytes * n_layers);
    memory.assign(static_cast<std::size_t>(count), std::vector<std::byte>(size, std::byte{0xff}));
  }
  // Valid until the next call or the object moves.
  KvView view(int layer = 0) {
    blocks.clear();
    for (std::vector<std::byte>& block : memory) blocks.push_back(block.data());
    return {blocks.data(), static_cast<std::int64_t>(blocks.size()), layer * layer_bytes, kType};
  }
};

}  // namespace conclave::ops::testing
