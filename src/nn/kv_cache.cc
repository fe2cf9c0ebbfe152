#include "nn/kv_cache.h"

#include <cstring>

#include "base/error.h"

namespace conclave::nn {
namespace {

std::int64_t round_up(std::int64_t n) {
  return (n + ops::kKeyBlock - 1) / ops::kKeyBlock * ops::kKeyBlock;
}

}  // namespace

KvCache::KvCache(int n_layers, int n_kv_heads, int head_dim, std::int64_t capacity)
    : length_limit_(capacity),
      capacity_(round_up(capacity)),
      layer_elements_(capacity_ * n_kv_heads * head_dim),
      keys_(DType::kF32, {n_layers, layer_elements_}),
      values_(DType::kF32, {n_layers, layer_elements_}) {}

ops::KvView KvCache::layer(int layer) const {
  return {keys_.span<float>().data() + layer * layer_elements_,
          values_.span<float>().data() + layer * layer_elements_, capacity_};
}

void KvCache::copy_from(const KvCache& other) {
  CONCLAVE_CHECK(keys_.bytes() == other.keys_.bytes() && capacity_ == other.capacity_,
                 "caches of {} and {} positions", capacity_, other.capacity_);
  std::memcpy(keys_.span<float>().data(), other.keys_.span<float>().data(), keys_.bytes());
  std::memcpy(values_.span<float>().data(), other.values_.span<float>().data(), values_.bytes());
}

std::int64_t KvCache::bytes(int n_layers, int n_kv_heads, int head_dim, std::int64_t capacity) {
  return 2 * static_cast<std::int64_t>(sizeof(float)) * n_layers * n_kv_heads * head_dim *
         round_up(capacity);
}

}  // namespace conclave::nn
