#include "moe/statistics.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace conclave::moe {
namespace {

// log2 to an absolute error of 1.5e-5 for positive normal numbers, in operations that vectorise: a
// least-maximum fit of log2(1 + m) / m by degree 4 on [0, 1). 0 gives -127, which a factor of 0
// takes out again. std::log would cost a percent of a small layer.
inline float rough_log2(float x) {
  const auto bits = std::bit_cast<std::int32_t>(x);
  const auto exponent = static_cast<float>((bits >> 23) - 127);
  const float m = std::bit_cast<float>((bits & 0x007fffff) | 0x3f800000) - 1.0f;
  const float tail = 0.417592765f + m * (-0.196266043f + m * 0.0463838837f);
  return exponent + m * (1.44196551f + m * (-0.709661819f + m * tail));
}

// -sum p ln p of one row; NaN where p is.
template <class Real>
double row_entropy(const Real* p_E, int n) {
  constexpr int kLanes = 8;
  float lane[kLanes] = {};
  int e = 0;
  for (; e + kLanes <= n; e += kLanes) {
    for (int j = 0; j < kLanes; ++j) {
      const auto p = static_cast<float>(p_E[e + j]);
      lane[j] -= p * rough_log2(p);
    }
  }
  for (; e < n; ++e) {
    const auto p = static_cast<float>(p_E[e]);
    lane[0] -= p * rough_log2(p);
  }
  float sum = 0;
  for (int j = 0; j < kLanes; ++j) sum += lane[j];
  return static_cast<double>(sum) * std::numbers::ln2;
}

}  // namespace

RoutingStatistics::RoutingStatistics(int n_experts) : n_experts_(n_experts) {
  CONCLAVE_CHECK(n_experts >= 1);
  const auto n = static_cast<std::size_t>(n_experts);
  tokens_per_expert_E_.assign(n, 0);
  pairs_.assign(n * (n - 1) / 2, 0);
}

std::int64_t RoutingStatistics::pair_index(int a, int b) const {
  return std::int64_t{b} * (b - 1) / 2 + a;
}

std::int64_t RoutingStatistics::coactivation(int a, int b) const {
  CONCLAVE_CHECK(a >= 0 && b >= 0 && a < n_experts_ && b < n_experts_);
  if (a == b) return tokens_per_expert_E_[static_cast<std::size_t>(a)];
  CONCLAVE_CHECK(has_pairs_, "pairs were dropped");
  return pairs_[static_cast<std::size_t>(pair_index(std::min(a, b), std::max(a, b)))];
}

template <class Real>
void RoutingStatistics::add(const RoutingDecisionOf<Real>& decision) {
  if (n_experts_ == 0) *this = RoutingStatistics(decision.n_experts);
  CONCLAVE_CHECK(has_pairs_, "pairs were dropped");
  CONCLAVE_CHECK(decision.n_experts == n_experts_, "{} experts, counted {} before",
                 decision.n_experts, n_experts_);
  tokens_ += decision.n_tokens;
  for (const std::uint8_t dropped : decision.dropped_TK) dropped_ += dropped;
  for (std::int64_t t = 0; t < decision.n_tokens; ++t) {
    const std::int32_t* const ids_K = decision.topk_ids_TK.data() + t * decision.k;
    for (int i = 0; i < decision.k; ++i) {
      const std::int32_t a = ids_K[i];
      if (a == kNoExpert) continue;
      ++choices_;
      ++tokens_per_expert_E_[static_cast<std::size_t>(a)];
      for (int j = 0; j < i; ++j) {
        const std::int32_t b = ids_K[j];
        if (b == kNoExpert) continue;
        ++pairs_[static_cast<std::size_t>(pair_index(std::min(a, b), std::max(a, b)))];
      }
    }
    if (decision.scores_TE.empty()) continue;
    const double entropy = row_entropy(decision.scores_TE.data() + t * n_experts_, n_experts_);
    if (std::isfinite(entropy)) {
      entropy_sum_ += entropy;
      ++entropy_tokens_;
    } else {
      ++nonfinite_tokens_;
    }
  }
}

void RoutingStatistics::add_store_accesses(std::int64_t hits, std::int64_t misses) {
  store_hits_ += hits;
  store_misses_ += misses;
}

void RoutingStatistics::merge(const RoutingStatistics& other) {
  store_hits_ += other.store_hits_;
  store_misses_ += other.store_misses_;
  if (other.n_experts_ == 0) return;
  if (n_experts_ == 0) {
    n_experts_ = other.n_experts_;
    tokens_per_expert_E_.assign(other.tokens_per_expert_E_.size(), 0);
    pairs_.assign(other.pairs_.size(), 0);
    has_pairs_ = other.has_pairs_;
  }
  if (!other.has_pairs_) drop_coactivation();
  CONCLAVE_CHECK(n_experts_ == other.n_experts_, "{} and {} experts", n_experts_, other.n_experts_);
  tokens_ += other.tokens_;
  choices_ += other.choices_;
  dropped_ += other.dropped_;
  nonfinite_tokens_ += other.nonfinite_tokens_;
  entropy_tokens_ += other.entropy_tokens_;
  entropy_sum_ += other.entropy_sum_;
  for (std::size_t i = 0; i < tokens_per_expert_E_.size(); ++i) {
    tokens_per_expert_E_[i] += other.tokens_per_expert_E_[i];
  }
  for (std::size_t i = 0; i < pairs_.size(); ++i) pairs_[i] += other.pairs_[i];
}

void RoutingStatistics::drop_coactivation() {
  has_pairs_ = false;
  pairs_ = {};
}

void RoutingStatistics::reset() {
  *this = n_experts_ == 0 ? RoutingStatistics() : RoutingStatistics(n_experts_);
}

BalanceFigures RoutingStatistics::balance() const {
  BalanceFigures figures;
  if (entropy_tokens_ > 0) {
    figures.router_entropy = entropy_sum_ / static_cast<double>(entropy_tokens_);
  }
  if (choices_ == 0) return figures;
  const double mean = static_cast<double>(choices_) / n_experts_;
  const auto [low, high] =
      std::minmax_element(tokens_per_expert_E_.begin(), tokens_per_expert_E_.end());
  for (const std::int64_t count : tokens_per_expert_E_) {
    if (count == 0) {
      ++figures.dead_experts;
      continue;
    }
    const double share = static_cast<double>(count) / static_cast<double>(choices_);
    figures.load_entropy -= share * std::log(share);
  }
  figures.max_over_mean = static_cast<double>(*high) / mean;
  figures.min_over_mean = static_cast<double>(*low) / mean;
  figures.max_violation = (static_cast<double>(*high) - mean) / mean;
  return figures;
}

template void RoutingStatistics::add(const RoutingDecisionOf<float>&);
template void RoutingStatistics::add(const RoutingDecisionOf<double>&);

}  // namespace conclave::moe
