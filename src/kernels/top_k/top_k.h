// The k largest of n values, best first, for rows that are short (a router's experts).
//
// Equal values (and 0 and -0) are taken in order of their index. NaN is below everything, -inf
// included, so that it is taken only where fewer than k other values exist. Whatever the values,
// the ids are distinct and within 0 .. n-1.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <type_traits>

namespace conclave::kernels {

// Whether value `a` must come before value `b`, of a higher index.
template <class Real>
bool ranks_before(Real a, Real b) {
  const bool b_is_nan = b != b;
  if (a != a) return b_is_nan;
  return b_is_nan || a >= b;
}

namespace detail {

// Rows up to here are selected from blocks of 8 keys on the stack: the scan of 64 block maxima and
// of 8 keys a choice has no branch that depends on the values, which is what makes it fast.
inline constexpr std::int64_t kBlockedRow = 512;
inline constexpr std::int64_t kBlockedChoices = 32;
inline constexpr std::int64_t kKeysPerBlock = 8;

// An unsigned key in the order of the values: NaN is 1, and 0 is nobody's, for "taken".
template <class Real>
auto rank_key(Real value) {
  using Key = std::conditional_t<sizeof(Real) == 4, std::uint32_t, std::uint64_t>;
  constexpr Key kSign = Key{1} << (8 * sizeof(Key) - 1);
  const Key bits = std::bit_cast<Key>(value + Real(0));  // -0 becomes 0
  const Key negative = Key{0} - (bits >> (8 * sizeof(Key) - 1));
  const Key key = bits ^ (negative | kSign);
  return value == value ? key : Key{1};
}

template <class Key>
Key largest_key(const Key* keys, std::int64_t n) {
  Key top = keys[0];
  for (std::int64_t i = 1; i < n; ++i) top = keys[i] > top ? keys[i] : top;
  return top;
}

template <class Key>
std::int64_t first_largest_key(const Key* keys, std::int64_t n) {
  Key top = keys[0];
  std::int64_t at = 0;
  for (std::int64_t i = 1; i < n; ++i) {
    at = keys[i] > top ? i : at;
    top = keys[i] > top ? keys[i] : top;
  }
  return at;
}

template <class Real>
void top_k_blocked(const Real* x, std::int64_t n, std::int64_t k, std::int32_t* ids_K) {
  using Key = decltype(rank_key(Real(0)));
  Key keys[kBlockedRow];
  Key maxima[kBlockedRow / kKeysPerBlock];
  const std::int64_t blocks = (n + kKeysPerBlock - 1) / kKeysPerBlock;
  for (std::int64_t i = 0; i < n; ++i) keys[i] = rank_key(x[i]);
  for (std::int64_t i = n; i < blocks * kKeysPerBlock; ++i) keys[i] = 0;
  for (std::int64_t b = 0; b < blocks; ++b) {
    maxima[b] = largest_key(keys + b * kKeysPerBlock, kKeysPerBlock);
  }
  for (std::int64_t i = 0; i < k; ++i) {
    const std::int64_t b = first_largest_key(maxima, blocks);
    Key* const block = keys + b * kKeysPerBlock;
    const std::int64_t at = first_largest_key(block, kKeysPerBlock);
    ids_K[i] = static_cast<std::int32_t>(b * kKeysPerBlock + at);
    block[at] = 0;
    maxima[b] = largest_key(block, kKeysPerBlock);
  }
}

// A heap whose top is the worst of the k chosen so far: O(n log k), for wide rows and large k.
template <class Real>
void top_k_heap(const Real* x, std::int64_t n, std::int64_t k, std::int32_t* ids_K) {
  const auto better = [x](std::int32_t a, std::int32_t b) {
    return a < b ? ranks_before(x[a], x[b]) : a > b && !ranks_before(x[b], x[a]);
  };
  const auto count = static_cast<std::int32_t>(n);
  for (std::int32_t i = 0; i < k; ++i) ids_K[i] = i;
  std::make_heap(ids_K, ids_K + k, better);
  for (auto i = static_cast<std::int32_t>(k); i < count; ++i) {
    if (!better(i, ids_K[0])) continue;
    std::pop_heap(ids_K, ids_K + k, better);
    ids_K[k - 1] = i;
    std::push_heap(ids_K, ids_K + k, better);
  }
  std::sort_heap(ids_K, ids_K + k, better);
}

}  // namespace detail

// Fills ids_K; 0 <= k <= n <= 2^31-1.
template <class Real>
void top_k(const Real* x, std::int64_t n, std::int64_t k, std::int32_t* ids_K) {
  if (k <= 0) return;
  if (n <= detail::kBlockedRow && k <= detail::kBlockedChoices) {
    detail::top_k_blocked(x, n, k, ids_K);
  } else {
    detail::top_k_heap(x, n, k, ids_K);
  }
}

}  // namespace conclave::kernels
