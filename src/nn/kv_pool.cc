#include "nn/kv_pool.h"

#include <algorithm>
#include <mutex>
#include <vector>

#include "ops/attention.h"
#include "tensor/tensor.h"

namespace conclave::nn {
namespace {

// Pages are cut from slabs of about this size: large memory comes in huge pages of the system, and
// a page alone would waste up to one of them.
constexpr std::int64_t kSlabBytes = 64 << 20;

}  // namespace

struct KvPool::Memory {
  std::mutex mutex;  // of what follows
  std::vector<AlignedBuffer> slabs;
  std::vector<std::byte*> free;  // has room for all pages
  std::int64_t used = 0;

  std::byte* take(std::int64_t page_bytes) {
    const std::lock_guard lock(mutex);
    if (free.empty()) add_slab(page_bytes);
    std::byte* const page = free.back();
    free.pop_back();
    ++used;
    return page;
  }
  void give_back(std::byte* page) {
    const std::lock_guard lock(mutex);
    free.push_back(page);
    --used;
  }
  void add_slab(std::int64_t page_bytes) {
    const std::int64_t pages = std::max<std::int64_t>(1, kSlabBytes / page_bytes);
    AlignedBuffer slab(static_cast<std::size_t>(pages * page_bytes));
    free.reserve(static_cast<std::size_t>(used + pages));
    std::byte* const memory = slab.data();
    slabs.push_back(std::move(slab));
    for (std::int64_t i = pages - 1; i >= 0; --i) free.push_back(memory + i * page_bytes);
  }
};

KvPool::KvPool(int n_layers, int n_kv_heads, int head_dim, ops::KvType type)
    : type_(type),
      layer_bytes_(ops::kv_block_bytes(n_kv_heads, head_dim, type)),
      page_bytes_(n_layers * layer_bytes_),
      memory_(std::make_shared<Memory>()) {}

KvPool::Page KvPool::take() {
  // Where there is no memory for the counter, the page goes back at once.
  return {memory_->take(page_bytes_), [memory = memory_](std::byte* p) { memory->give_back(p); }};
}

std::int64_t KvPool::used_pages() const {
  const std::lock_guard lock(memory_->mutex);
  return memory_->used;
}

std::int64_t KvPool::pages(std::int64_t positions) {
  return (positions + ops::kKeyBlock - 1) / ops::kKeyBlock;
}

}  // namespace conclave::nn
