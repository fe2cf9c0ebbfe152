// Learning rate by step: linear warm-up, then cosine (Loshchilov & Hutter 2017), linear, or
// warm-up-stable-decay (Hu et al. 2024, MiniCPM, section 4.2; linear decay).
#pragma once

#include <cstdint>

#include "train/config.h"

namespace conclave::train {

// The rate of step `step` (0-based) of `total`.
double learning_rate(const OptimizerConfig& config, std::int64_t step, std::int64_t total);

}  // namespace conclave::train
