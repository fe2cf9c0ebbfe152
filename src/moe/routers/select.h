// Choosing the k best of n, ties to the lowest index, and limiting the choice to the best groups of
// experts. Whatever the keys hold, ids are valid and unique: NaN counts as minus infinity.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "moe/router.h"

namespace conclave::moe {

// The order of selection: larger key first, then lower index. NaN keys are last.
template <class Real>
struct BetterKey {
  const Real* keys;

  static Real order(Real key) { return key == key ? key : -std::numeric_limits<Real>::infinity(); }
  bool operator()(std::int32_t a, std::int32_t b) const {
    const Real key_a = order(keys[a]);
    const Real key_b = order(keys[b]);
    return key_a != key_b ? key_a > key_b : a < b;
  }
};

// ids_K = the k best of keys[0 .. n), best first; 0 <= k <= n.
template <class Real>
void top_k(const Real* keys, int n, int k, std::int32_t* ids_K) {
  const BetterKey<Real> better{keys};
  if (k > 16) {  // a heap whose top is the worst of the k chosen so far
    for (int i = 0; i < k; ++i) ids_K[i] = i;
    std::make_heap(ids_K, ids_K + k, better);
    for (int i = k; i < n; ++i) {
      if (!better(i, ids_K[0])) continue;
      std::pop_heap(ids_K, ids_K + k, better);
      ids_K[k - 1] = i;
      std::push_heap(ids_K, ids_K + k, better);
    }
    std::sort_heap(ids_K, ids_K + k, better);
    return;
  }
  int held = 0;  // a sorted list: indices come in rising order, so a tie never moves forward
  for (int i = 0; i < n; ++i) {
    const Real key = BetterKey<Real>::order(keys[i]);
    if (held == k) {
      if (k == 0 || !(key > BetterKey<Real>::order(keys[ids_K[k - 1]]))) continue;
    } else {
      ++held;
    }
    int at = held - 1;
    for (; at > 0 && key > BetterKey<Real>::order(keys[ids_K[at - 1]]); --at) {
      ids_K[at] = ids_K[at - 1];
    }
    ids_K[at] = i;
  }
}

// Scratch memory of one thread's selection.
template <class Real>
struct SelectionScratch {
  Real* keys_E;
  Real* group_scores;       // n_groups
  std::int32_t* group_ids;  // n_groups

  // Elements of Real that one thread needs.
  static std::int64_t count(const RouterConfig& config) {
    return std::int64_t{config.n_experts} + 2 * std::int64_t{config.n_groups};
  }
  SelectionScratch(const RouterConfig& config, Real* memory)
      : keys_E(memory),
        group_scores(memory + config.n_experts),
        group_ids(reinterpret_cast<std::int32_t*>(memory + config.n_experts + config.n_groups)) {}
};

// Keys of experts outside the best `topk_groups` groups become minus infinity (DeepSeek-V2 2024,
// section 2.2.2; DeepSeek-V3 2024, section 2.1.2).
template <class Real>
void limit_to_groups(const RouterConfig& config, const SelectionScratch<Real>& scratch) {
  if (config.topk_groups == config.n_groups) return;
  constexpr Real kLowest = -std::numeric_limits<Real>::infinity();
  const int size = config.n_experts / config.n_groups;
  for (int g = 0; g < config.n_groups; ++g) {
    const Real* keys = scratch.keys_E + static_cast<std::int64_t>(g) * size;
    Real first = kLowest;
    Real second = kLowest;
    for (int i = 0; i < size; ++i) {
      const Real key = BetterKey<Real>::order(keys[i]);
      if (key > first) {
        second = first;
        first = key;
      } else if (key > second) {
        second = key;
      }
    }
    scratch.group_scores[g] = config.group_score == GroupScore::kMax ? first : first + second;
  }
  top_k(scratch.group_scores, config.n_groups, config.topk_groups, scratch.group_ids);
  std::sort(scratch.group_ids, scratch.group_ids + config.topk_groups);
  const std::int32_t* kept = scratch.group_ids;
  const std::int32_t* const end = scratch.group_ids + config.topk_groups;
  for (int g = 0; g < config.n_groups; ++g) {
    if (kept != end && *kept == g) {
      ++kept;
      continue;
    }
    std::fill_n(scratch.keys_E + static_cast<std::int64_t>(g) * size, size, kLowest);
  }
}

}  // namespace conclave::moe
