// Keys and values of one sequence, all layers, in pages of a pool, laid out as in ops/attention.h.
// Training uses the same cache for the sequences of its batch: there it is the saved activation.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "nn/kv_pool.h"
#include "ops/attention.h"

namespace conclave::nn {

// What inference keeps keys and values in unless it is told, beside products in `compute` type: f32
// beside f32, else f16. Training keeps f32.
inline ops::KvType cache_type(DType compute) {
  return compute == DType::kF32 ? ops::KvType::kF32 : ops::KvType::kF16;
}

class KvCache {
 public:
  // Takes no memory yet.
  KvCache(std::shared_ptr<KvPool> pool, std::int64_t length_limit);
  KvCache(const KvCache&) = delete;  // it would write to the same pages
  KvCache& operator=(const KvCache&) = delete;

  // How long the sequence may become. Decides between the rotary angles of short and of long
  // sequences, once and for all of its tokens.
  std::int64_t length_limit() const { return length_limit_; }
  // Has memory for the positions before `positions`, at most length_limit; Transformer::forward
  // calls it. Throws Error(kOutOfMemory). Views of before are no longer valid.
  void reserve(std::int64_t positions);
  std::int64_t pages() const { return static_cast<std::int64_t>(pages_.size()); }
  void release();  // all memory
  // Where the pages are.
  std::span<std::byte* const> blocks() const { return blocks_; }

  ops::KvView layer(int layer) const;
  // Becomes a copy of another cache, in pages of its own.
  void copy_from(const KvCache& other);
  // Becomes the first `positions` of a cache of the same pool: holds the same pages, and a copy of
  // the last one where it is not full. Neither sequence writes to a page that both hold, as long as
  // this one goes on from `positions` and the other does not go back. Throws Error(kOutOfMemory),
  // and holds nothing then.
  void share_prefix(const KvCache& other, std::int64_t positions);

  // Bytes that a sequence of so many positions takes.
  static std::int64_t bytes(int n_layers, int n_kv_heads, int head_dim, std::int64_t positions,
                            ops::KvType type);

 private:
  void hold(KvPool::Page page);

  std::shared_ptr<KvPool> pool_;
  std::int64_t length_limit_;
  std::vector<KvPool::Page> pages_;
  std::vector<std::byte*> blocks_;  // where they are
};

}  // namespace conclave::nn
