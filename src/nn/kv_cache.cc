#include "nn/kv_cache.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace conclave::nn {
namespace {

std::int64_t round_up(std::int64_t n) {
  return (n + ops::kKeyBlock - 1) / ops::kKeyBlock * ops::kKeyBlock;
}

}  // namespace

KvCache::KvCache(int n_layers, int n_kv_heads, int head_dim, std::int64_t capacity, DType type)
    : n_layers_(n_layers),
      n_kv_heads_(n_kv_heads),
      head_dim_(head_dim),
      length_limit_(capacity),
      capacity_(round_up(capacity)),
      layer_elements_(capacity_ * n_kv_heads * head_dim),
      keys_(type, {n_layers, layer_elements_}),
      values_(type, {n_layers, layer_elements_}) {}

ops::KvView KvCache::layer(int layer) const {
  const auto offset = static_cast<std::size_t>(layer * layer_elements_) * dtype_size(keys_.dtype());
  return {keys_.raw() + offset, values_.raw() + offset, capacity_, keys_.dtype()};
}

void KvCache::copy_from(const KvCache& other) {
  CONCLAVE_CHECK(keys_.bytes() == other.keys_.bytes() && capacity_ == other.capacity_,
                 "caches of {} and {} positions", capacity_, other.capacity_);
  std::memcpy(keys_.raw(), other.keys_.raw(), keys_.bytes());
  std::memcpy(values_.raw(), other.values_.raw(), values_.bytes());
}

void KvCache::copy_prefix(const KvCache& other, std::int64_t positions) {
  CONCLAVE_CHECK(n_layers_ == other.n_layers_ && n_kv_heads_ == other.n_kv_heads_ &&
                     head_dim_ == other.head_dim_ && keys_.dtype() == other.keys_.dtype(),
                 "caches of different models");
  CONCLAVE_CHECK(positions >= 0 && positions <= std::min(capacity_, other.capacity_),
                 "{} positions of a cache of {} to one of {}", positions, other.capacity_,
                 capacity_);
  // Whole blocks of keys: what lies behind `positions` is seen by nobody before it is overwritten.
  const auto size = static_cast<std::int64_t>(dtype_size(keys_.dtype())) * head_dim_;
  const auto count = static_cast<std::size_t>(round_up(positions) * size);
  for (int layer = 0; layer < n_layers_; ++layer) {
    const ops::KvView to = this->layer(layer), from = other.layer(layer);
    for (int head = 0; head < n_kv_heads_; ++head) {
      std::memcpy(to.k + head * capacity_ * size, from.k + head * other.capacity_ * size, count);
      std::memcpy(to.v + head * capacity_ * size, from.v + head * other.capacity_ * size, count);
    }
  }
}

std::int64_t KvCache::bytes(int n_layers, int n_kv_heads, int head_dim, std::int64_t capacity,
                            DType type) {
  return 2 * static_cast<std::int64_t>(dtype_size(type)) * n_layers * n_kv_heads * head_dim *
         round_up(capacity);
}

}  // namespace conclave::nn
