// What kernel bodies know of a vector of floats. A body is a template over a class V of static
// functions, Simd256 (simd_avx2.h) or Simd512 (simd_avx512.h), that offers:
//
//   Vec, kLanes, kRegisters      the vector type (with + - * /), its length, how many there are
//   set, load, store             any alignment
//   load_half, store_half        IEEE half precision, rounded to the nearest
//   load_bytes, store_bytes      signed bytes; stored: rounded to the nearest, cut at -128 and 127
//   load_first, store_first      only the first n lanes; the others read as 0 and are not touched
//   fma(a, b, c) = a*b + c,  fnma(a, b, c) = c - a*b     one rounding
//   max, min                     the second argument where either is NaN
//   round, sqrt, scale_by_power(v, n) = v * 2^n for a vector of whole numbers n, |n| <= 252
//   keep(v, begin, end, other)   lanes begin..end-1 of v, the others from `other`
//   first_lane, sum, top         to one float; sum in one fixed tree; top is blind to NaN
//   Wide, wide_zero, widen_low, widen_high, wide_sum     half as many doubles
//
// The classes have no linkage (see there), therefore neither has any body made from them.
#pragma once

#include <cstdint>

namespace conclave::kernels {

using Index = std::int64_t;

// 2^n * 2^f for whole n and |f| <= 1/2. The polynomial minimises the relative error (Remez) with
// p(0) = 1 exactly: 2.0e-9 in exact arithmetic, 8e-8 (under 1 unit in the last place) as computed.
template <class V>
inline typename V::Vec power_of_two(typename V::Vec n, typename V::Vec f) {
  typename V::Vec p = V::set(1.5353362e-4f);
  p = V::fma(p, f, V::set(1.3398874e-3f));
  p = V::fma(p, f, V::set(9.618437e-3f));
  p = V::fma(p, f, V::set(5.5503324e-2f));
  p = V::fma(p, f, V::set(2.4022648e-1f));
  p = V::fma(p, f, V::set(6.931472e-1f));
  p = V::fma(p, f, V::set(1.f));
  return V::scale_by_power(p, n);
}

// 2^x; 0 below -151, infinity from 128, NaN for NaN. 2^0 is exactly 1.
template <class V>
inline typename V::Vec exp2(typename V::Vec x) {
  x = V::min(V::set(129.f), V::max(V::set(-151.f), x));
  const typename V::Vec n = V::round(x);
  return power_of_two<V>(n, x - n);
}

// e^x with a relative error below 1e-7 where the result is normal; 0 below -105, infinity above
// 88.73, NaN for NaN. log2(e) is split in two so that x*log2(e) - n keeps its last bits.
template <class V>
inline typename V::Vec exp(typename V::Vec x) {
  x = V::min(V::set(89.5f), V::max(V::set(-105.f), x));
  const typename V::Vec n = V::round(x * V::set(1.4426950f));
  typename V::Vec f = V::fma(x, V::set(0x1.715476p+0f), -n);
  f = V::fma(x, V::set(0x1.4ae0c0p-26f), f);
  return power_of_two<V>(n, f);
}

}  // namespace conclave::kernels
