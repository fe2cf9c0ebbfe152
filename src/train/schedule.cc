#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace conclave::train {

double learning_rate(const OptimizerConfig& config, std::int64_t step, std::int64_t total) {
  const double peak = config.learning_rate;
  if (step < config.warmup_steps) {
    return peak * static_cast<double>(step + 1) / static_cast<double>(config.warmup_steps);
  }
  const double floor = config.final_ratio;
  const auto span = static_cast<double>(std::max<std::int64_t>(1, total - config.warmup_steps));
  // From 0 at the end of the warm-up to 1 at the last step.
  const double progress = std::clamp(
      static_cast<double>(step - config.warmup_steps) / std::max(1.0, span - 1), 0.0, 1.0);
  double share = 1;  // of the way from floor to peak
  switch (config.schedule) {
    case Schedule::kCosine:
      share = 0.5 * (1 + std::cos(std::numbers::pi * progress));
      break;
    case Schedule::kLinear:
      share = 1 - progress;
      break;
    case Schedule::kWsd:
      share = config.wsd_decay > 0 ? std::clamp((1 - progress) / config.wsd_decay, 0.0, 1.0) : 1;
      break;
  }
  return peak * (floor + (1 - floor) * share);
}

}  // namespace conclave::train
