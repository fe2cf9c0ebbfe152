// Choosing by keys, and limiting the choice to the best groups of experts. kernels::top_k keeps ids
// valid and unique whatever the keys hold; ties go to the lowest index and NaN comes last.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/top_k/top_k.h"
#include "moe/router.h"

namespace conclave::moe {

// Sorts indices of keys as top_k does: larger key first, then lower index, NaN last.
template <class Real>
struct BetterKey {
  const Real* keys;
  bool operator()(std::int32_t a, std::int32_t b) const {
    return a < b ? kernels::ranks_before(keys[a], keys[b])
                 : a > b && !kernels::ranks_before(keys[b], keys[a]);
  }
};

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
// section 2.2.2; DeepSeek-V3 2024, section 2.1.2), or 0 with group_fill_zero.
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
      const Real key = keys[i];  // NaN is larger than nothing
      if (key > first) {
        second = first;
        first = key;
      } else if (key > second) {
        second = key;
      }
    }
    scratch.group_scores[g] = config.group_score == GroupScore::kMax ? first : first + second;
  }
  kernels::top_k(scratch.group_scores, config.n_groups, config.topk_groups, scratch.group_ids);
  std::sort(scratch.group_ids, scratch.group_ids + config.topk_groups);
  const std::int32_t* kept = scratch.group_ids;
  const std::int32_t* const end = scratch.group_ids + config.topk_groups;
  for (int g = 0; g < config.n_groups; ++g) {
    if (kept != end && *kept == g) {
      ++kept;
      continue;
    }
    std::fill_n(scratch.keys_E + static_cast<std::int64_t>(g) * size, size,
                config.group_fill_zero ? Real(0) : kLowest);
  }
}

}  // namespace conclave::moe
