// The expert store: the only way to an expert's weights, addressed as (layer, expert). Whether they
// are resident, cached from disk, pruned, quantised or elsewhere is a policy of the store, and no
// other code knows.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "ops/linear.h"

namespace conclave::moe {

// One SwiGLU expert (Shazeer 2020): y = w_down (silu(w_gate x) * (w_up x)).
struct ExpertWeights {
  ops::Linear gate_up;            // [2F, D]: w_gate's rows, then w_up's
  ops::Linear down;               // [D, F]
  float* gate_up_bias = nullptr;  // [2F], or null
  float* down_bias = nullptr;     // [D], or null
};

struct StoreStatistics {
  std::int64_t hits = 0;    // experts that were ready when asked for
  std::int64_t misses = 0;  // experts that had to be fetched
};

// The experts of one layer that a batch needs, usable while the lease lives. Entries of experts
// that were not asked for are null.
class ExpertLease {
 public:
  ExpertLease(std::vector<const ExpertWeights*> experts, std::function<void()> release)
      : experts_(std::move(experts)), release_(std::move(release)) {}
  ExpertLease(ExpertLease&& other) noexcept = default;
  ExpertLease& operator=(ExpertLease&&) = delete;
  ~ExpertLease() {
    if (release_) release_();
  }
  const ExpertWeights* operator[](std::size_t expert) const { return experts_[expert]; }
  std::size_t size() const { return experts_.size(); }

 private:
  std::vector<const ExpertWeights*> experts_;
  std::function<void()> release_;
};

class ExpertStore {
 public:
  virtual ~ExpertStore() = default;

  virtual int n_layers() const = 0;
  virtual int n_experts(int layer) const = 0;

  // Experts of `layer` with tokens_per_expert_E[e] > 0. Throws Error(kIo) where one cannot be had.
  virtual ExpertLease acquire(int layer, std::span<const std::int32_t> tokens_per_expert_E) = 0;

  // For building, training and editing: the expert itself, resident afterwards.
  virtual ExpertWeights& at(int layer, int expert) = 0;

  virtual StoreStatistics statistics(int layer) const = 0;
};

// Everything in memory: every request is a hit.
class ResidentStore final : public ExpertStore {
 public:
  // n_experts_L[l] experts in layer l (0: the layer has none).
  explicit ResidentStore(std::span<const int> n_experts_L);

  int n_layers() const override { return static_cast<int>(layers_.size()); }
  int n_experts(int layer) const override;
  ExpertLease acquire(int layer, std::span<const std::int32_t> tokens_per_expert_E) override;
  ExpertWeights& at(int layer, int expert) override;
  StoreStatistics statistics(int layer) const override;

 private:
  struct Layer {
    std::vector<std::unique_ptr<ExpertWeights>> experts;
    StoreStatistics statistics;
  };
  std::vector<Layer> layers_;
};

}  // namespace conclave::moe
