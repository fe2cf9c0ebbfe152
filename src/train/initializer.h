// Initial weights: normal with a given deviation; projections into the residual stream are scaled
// by 1/sqrt(2 L) (Radford et al. 2019, GPT-2, section 2.3); norms are 1, biases 0. A weight is a
// function of the seed and its place alone.
#pragma once

#include "base/rng.h"
#include "tensor/parameters.h"

namespace conclave::train {

class Initializer final : public WeightSource {
 public:
  Initializer(std::uint64_t seed, double std, double router_std, int n_layers)
      : rng_(seed), std_(std), router_std_(router_std), n_layers_(n_layers) {}
  // Throws Error(kInterrupted) where a signal asks to stop: billions of weights take minutes.
  void read(const ParamSpec& spec, MatrixView<float> out) override;

 private:
  double deviation(Role role) const;

  Rng rng_;
  double std_;
  double router_std_;
  int n_layers_;
};

}  // namespace conclave::train
