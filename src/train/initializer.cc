#include "train/initializer.h"

#include <cmath>

#include "sys/interrupt.h"

namespace conclave::train {

double Initializer::deviation(Role role) const {
  switch (role) {
    case Role::kAttnOut:
    case Role::kExpertDown:
    case Role::kSharedDown:
      return std_ / std::sqrt(2.0 * n_layers_);
    case Role::kRouter:
      return router_std_;
    case Role::kRouterNoise:
      return 0;  // Shazeer et al. 2017: noise starts equal for all experts
    default:
      return std_;
  }
}

void Initializer::read(const ParamSpec& spec, MatrixView<float> out) {
  const bool vector = spec.shape.rank() == 1;
  const float constant = spec.id.role == Role::kExpertBias ? 0.0f : 1.0f;
  const auto stream = static_cast<std::uint64_t>(spec.id.role) << 48 |
                      static_cast<std::uint64_t>(spec.id.layer + 1) << 24 |
                      static_cast<std::uint64_t>(spec.id.expert + 1);
  const Rng rng = rng_.fork(stream);
  const double std = deviation(spec.id.role);
  for (std::int64_t r = 0; r < out.rows; ++r) {
    sys::stop_if_interrupted("making the initial weights");
    for (std::int64_t c = 0; c < out.cols; ++c) {
      out(r, c) =
          vector
              ? constant
              : static_cast<float>(std * rng.normal(static_cast<std::uint64_t>(r * out.cols + c)));
    }
  }
}

}  // namespace conclave::train
