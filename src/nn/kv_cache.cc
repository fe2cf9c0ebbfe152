#include "nn/kv_cache.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace conclave::nn {

KvCache::KvCache(std::shared_ptr<KvPool> pool, std::int64_t length_limit)
    : pool_(std::move(pool)), length_limit_(length_limit) {}

void KvCache::hold(KvPool::Page page) {
  if (blocks_.size() == blocks_.capacity()) blocks_.reserve(2 * blocks_.size() + 4);
  if (pages_.size() == pages_.capacity()) pages_.reserve(2 * pages_.size() + 4);
  blocks_.push_back(page.get());
  pages_.push_back(std::move(page));
}

void KvCache::reserve(std::int64_t positions) {
  CONCLAVE_CHECK(positions <= length_limit_, "{} positions in a cache of {}", positions,
                 length_limit_);
  while (pages() < KvPool::pages(positions)) hold(pool_->take());
}

void KvCache::release() {
  pages_.clear();
  blocks_.clear();
}

ops::KvView KvCache::layer(int layer) const {
  return {blocks_.data(), pages(), layer * pool_->layer_bytes(), pool_->type()};
}

void KvCache::copy_from(const KvCache& other) {
  CONCLAVE_CHECK(pool_->page_bytes() == other.pool_->page_bytes());
  release();
  for (const std::byte* block : other.blocks_) {
    hold(pool_->take());
    std::memcpy(blocks_.back(), block, static_cast<std::size_t>(pool_->page_bytes()));
  }
}

void KvCache::share_prefix(const KvCache& other, std::int64_t positions) {
  CONCLAVE_CHECK(pool_ == other.pool_, "caches of different pools");
  CONCLAVE_CHECK(positions >= 0 && KvPool::pages(positions) <= other.pages(),
                 "{} positions of a cache with {} pages", positions, other.pages());
  release();
  const std::int64_t shared = positions / ops::kKeyBlock;
  for (std::int64_t i = 0; i < shared; ++i) hold(other.pages_[static_cast<std::size_t>(i)]);
  if (positions % ops::kKeyBlock == 0) return;
  try {
    hold(pool_->take());
  } catch (const std::exception&) {
    release();
    throw;
  }
  std::memcpy(blocks_.back(), other.blocks_[static_cast<std::size_t>(shared)],
              static_cast<std::size_t>(pool_->page_bytes()));
}

std::int64_t KvCache::bytes(int n_layers, int n_kv_heads, int head_dim, std::int64_t positions,
                            ops::KvType type) {
  return n_layers * ops::kv_block_bytes(n_kv_heads, head_dim, type) * KvPool::pages(positions);
}

}  // namespace conclave::nn
