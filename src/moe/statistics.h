// What a layer's router did, counted always, in training and in inference. One schema
// ("conclave.routing/1") for JSON, Prometheus and pictures. Counts are integers and the rest are
// sums in token order, so statistics merge without loss and do not depend on threads.
//
// Shape letters: T tokens, E experts, K experts per token.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "moe/routing.h"

namespace conclave::moe {

// Figures computed from the counts. All 0 where nothing was counted.
struct BalanceFigures {
  double load_entropy = 0;    // of tokens per expert, in nats; ln E is perfect balance
  double router_entropy = 0;  // mean over tokens of the scores' entropy, in nats
  double max_over_mean = 0;
  double min_over_mean = 0;
  double max_violation = 0;  // MaxVio = (max - mean) / mean (Wang et al. 2024)
  int dead_experts = 0;      // experts that no token chose
};

class RoutingStatistics {
 public:
  RoutingStatistics() = default;
  explicit RoutingStatistics(int n_experts);

  // Counts one decision; E is taken from the first one. Tokens with non-finite logits are counted
  // as such, and left out of the router entropy.
  template <class Real>
  void add(const RoutingDecisionOf<Real>& decision);
  // Hits and misses of the expert store, as the layer saw them.
  void add_store_accesses(std::int64_t hits, std::int64_t misses);
  // Adds another layer-run's counts (same E, or empty).
  void merge(const RoutingStatistics& other);
  void reset();  // keeps E
  // Keeps everything but the pairs, which are most of the memory. What such statistics are merged
  // with loses its pairs, too.
  void drop_coactivation();

  int n_experts() const { return n_experts_; }
  std::int64_t tokens() const { return tokens_; }
  std::int64_t choices() const { return choices_; }  // used slots, dropped or not
  std::int64_t dropped() const { return dropped_; }
  std::int64_t nonfinite_tokens() const { return nonfinite_tokens_; }
  std::int64_t store_hits() const { return store_hits_; }
  std::int64_t store_misses() const { return store_misses_; }
  // Tokens that chose each expert, dropped or not.
  std::span<const std::int64_t> tokens_per_expert() const { return tokens_per_expert_E_; }
  bool has_coactivation() const { return has_pairs_; }
  // Tokens that chose both a and b; symmetric. The diagonal is tokens_per_expert.
  std::int64_t coactivation(int a, int b) const;
  BalanceFigures balance() const;

 private:
  std::int64_t pair_index(int a, int b) const;  // a < b, in the strict upper triangle

  int n_experts_ = 0;
  bool has_pairs_ = true;
  std::int64_t tokens_ = 0;
  std::int64_t choices_ = 0;
  std::int64_t dropped_ = 0;
  std::int64_t nonfinite_tokens_ = 0;
  std::int64_t entropy_tokens_ = 0;
  double entropy_sum_ = 0;
  std::int64_t store_hits_ = 0;
  std::int64_t store_misses_ = 0;
  std::vector<std::int64_t> tokens_per_expert_E_;
  std::vector<std::int64_t> pairs_;  // E * (E - 1) / 2
};

// One statistics object a layer, in layer order; layers that counted nothing yet or have no router
// (n_experts() == 0) are left out, and the others keep their number. {"schema":
// "conclave.routing/1", "layers": [...]}; the co-activation matrix is written where
// with_coactivation is set.
std::string statistics_json(std::span<const RoutingStatistics> layers, bool with_coactivation);
// The same in Prometheus' text format, with labels layer and expert.
std::string statistics_prometheus(std::span<const RoutingStatistics> layers);

}  // namespace conclave::moe
