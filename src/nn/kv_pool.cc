#include "nn/kv_pool.h"

#include <mutex>
#include <vector>

#include "ops/attention.h"
#include "tensor/tensor.h"

namespace conclave::nn {

struct KvPool::Memory {
  std::mutex mutex;  // of what follows
  std::vector<AlignedBuffer> free;
  std::int64_t pages = 0;  // that exist

  void give_back(AlignedBuffer page) {
    const std::lock_guard lock(mutex);
    free.push_back(std::move(page));  // has room for all pages
  }
};

KvPool::KvPool(int n_layers, int n_kv_heads, int head_dim, DType type)
    : type_(type),
      layer_bytes_(ops::kv_block_bytes(n_kv_heads, head_dim, type)),
      page_bytes_(n_layers * layer_bytes_),
      memory_(std::make_shared<Memory>()) {}

KvPool::Page KvPool::take() {
  AlignedBuffer page;
  {
    const std::lock_guard lock(memory_->mutex);
    if (memory_->free.empty()) {
      page = AlignedBuffer(static_cast<std::size_t>(page_bytes_));
      memory_->free.reserve(static_cast<std::size_t>(++memory_->pages));
    } else {
      page = std::move(memory_->free.back());
      memory_->free.pop_back();
    }
  }
  std::byte* const data = page.data();
  // The buffer waits in the deleter until the last holder is gone.
  return {data, [memory = memory_, held = std::make_shared<AlignedBuffer>(std::move(page))](
                    std::byte*) { memory->give_back(std::move(*held)); }};
}

std::int64_t KvPool::used_pages() const {
  const std::lock_guard lock(memory_->mutex);
  return memory_->pages - static_cast<std::int64_t>(memory_->free.size());
}

std::int64_t KvPool::pages(std::int64_t positions) {
  return (positions + ops::kKeyBlock - 1) / ops::kKeyBlock;
}

}  // namespace conclave::nn
