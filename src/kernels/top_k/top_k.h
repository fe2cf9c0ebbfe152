// The k largest of n values, best first, for rows that are short (a router's experts).
//
// Equal values (and 0 and -0) are taken in order of their index. NaN is below everything, -inf
// included, so that it is taken only where fewer than k other values exist. Whatever the values,
// the ids are distinct and within 0 .. n-1.
#pragma once

#include <cstdint>

namespace conclave::kernels {

// Whether value `a` must come before value `b`, of a higher index.
template <class Real>
bool ranks_before(Real a, Real b) {
  const bool b_is_nan = b != b;
  if (a != a) return b_is_nan;
  return b_is_nan || a >= b;
}

// Fills ids_K; 0 <= k <= n <= 2^31-1. O(n + changes * k), which is best for small k.
template <class Real>
void top_k(const Real* x, std::int64_t n, std::int64_t k, std::int32_t* ids_K) {
  if (k <= 0) return;
  std::int64_t taken = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    if (taken == k && ranks_before(x[ids_K[k - 1]], x[i])) continue;
    std::int64_t place = taken < k ? taken++ : k - 1;
    for (; place > 0 && !ranks_before(x[ids_K[place - 1]], x[i]); --place) {
      ids_K[place] = ids_K[place - 1];
    }
    ids_K[place] = static_cast<std::int32_t>(i);
  }
}

}  // namespace conclave::kernels
