#include "moe/store.h"

namespace conclave::moe {

ResidentStore::ResidentStore(std::span<const int> n_experts_L) {
  for (int n : n_experts_L) {
    Layer layer;
    for (int expert = 0; expert < n; ++expert) {
      layer.experts.push_back(std::make_unique<ExpertWeights>());
    }
    layers_.push_back(std::move(layer));
  }
}

int ResidentStore::n_experts(int layer) const {
  return static_cast<int>(layers_[static_cast<std::size_t>(layer)].experts.size());
}

ExpertLease ResidentStore::acquire(int layer, std::span<const std::int32_t> tokens_per_expert_E) {
  Layer& found = layers_[static_cast<std::size_t>(layer)];
  CONCLAVE_CHECK(tokens_per_expert_E.size() == found.experts.size());
  std::vector<const ExpertWeights*> experts(found.experts.size(), nullptr);
  for (std::size_t e = 0; e < experts.size(); ++e) {
    if (tokens_per_expert_E[e] == 0) continue;
    experts[e] = found.experts[e].get();
    ++found.statistics.hits;
  }
  return ExpertLease(std::move(experts), {});
}

ExpertWeights& ResidentStore::at(int layer, int expert) {
  return *layers_[static_cast<std::size_t>(layer)].experts[static_cast<std::size_t>(expert)];
}

StoreStatistics ResidentStore::statistics(int layer) const {
  return layers_[static_cast<std::size_t>(layer)].statistics;
}

}  // namespace conclave::moe
