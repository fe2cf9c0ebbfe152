#include "nn/kv_cache.h"

#include <cstring>

#include "base/error.h"

namespace conclave::nn {
namespace {

std::int64_t round_up(std::int64_t n) {
  return (n + ops::kKeyBlock - 1) / ops::kKeyBlock * ops::kKeyBlock;
}

}  // namespace

KvCache::KvCache(int n_layers, int n_kv_heads, int head_dim, std::int64_t capacity, DType type)
    : length_limit_(capacity),
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

std::int64_t KvCache::bytes(int n_layers, int n_kv_heads, int head_dim, std::int64_t capacity,
                            DType type) {
  return 2 * static_cast<std::int64_t>(dtype_size(type)) * n_layers * n_kv_heads * head_dim *
         round_up(capacity);
}

}  // namespace conclave::nn
