// Memory of keys and values in pages (Kwon et al. 2023, "Efficient memory management for large
// language model serving with PagedAttention", section 4): a page holds ops::kKeyBlock positions of
// all layers, so a sequence takes memory as it grows, and sequences that begin alike hold the same
// pages. Safe for several threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "ops/attention.h"

namespace conclave::nn {

class KvPool {
 public:
  // A page, for as long as anybody holds it; uninitialised when it is taken. It may outlive the
  // pool.
  using Page = std::shared_ptr<std::byte>;

  KvPool(int n_layers, int n_kv_heads, int head_dim, ops::KvType type);

  // Throws Error(kOutOfMemory). Pages that were given back are taken again before new memory; the
  // pool keeps them until it ends.
  Page take();
  // Pages that somebody holds.
  std::int64_t used_pages() const;

  ops::KvType type() const { return type_; }
  std::int64_t layer_bytes() const { return layer_bytes_; }  // of a page, one layer's part
  std::int64_t page_bytes() const { return page_bytes_; }
  // Pages that so many positions take.
  static std::int64_t pages(std::int64_t positions);

 private:
  struct Memory;
  ops::KvType type_;
  std::int64_t layer_bytes_;
  std::int64_t page_bytes_;
  std::shared_ptr<Memory> memory_;
};

}  // namespace conclave::nn
