// Keys and values of one sequence, all layers, in the layout of ops/attention.h. Training uses the
// same cache for the sequences of its batch: there it is the saved activation.
#pragma once

#include <cstdint>

#include "ops/attention.h"
#include "tensor/tensor.h"

namespace conclave::nn {

// What inference keeps keys and values in, beside products in `compute` type: f32 beside f32, else
// f16. Training keeps f32.
inline DType cache_type(DType compute) {
  return compute == DType::kF32 ? DType::kF32 : DType::kF16;
}

class KvCache {
 public:
  // Room for `capacity` positions of f32 or f16; throws Error(kOutOfMemory).
  KvCache(int n_layers, int n_kv_heads, int head_dim, std::int64_t capacity, DType type);

  // Positions that a view can hold: capacity rounded up to whole key blocks.
  std::int64_t capacity() const { return capacity_; }
  // The positions that were asked for: how long the sequence may become. Decides between the
  // rotary angles of short and of long sequences, once and for all of its tokens.
  std::int64_t length_limit() const { return length_limit_; }
  ops::KvView layer(int layer) const;
  // Takes all keys and values of a cache of the same size.
  void copy_from(const KvCache& other);
  // Takes those of the first `positions` from a cache of the same model and type, of any capacity.
  void copy_prefix(const KvCache& other, std::int64_t positions);

  // Bytes that a cache of this size takes.
  static std::int64_t bytes(int n_layers, int n_kv_heads, int head_dim, std::int64_t capacity,
                            DType type);

 private:
  int n_layers_, n_kv_heads_, head_dim_;
  std::int64_t length_limit_;
  std::int64_t capacity_;
  std::int64_t layer_elements_;  // of keys, and as many of values
  Tensor keys_;
  Tensor values_;
};

}  // namespace conclave::nn
