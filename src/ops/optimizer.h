// The optimiser's update and what gradient clipping needs, over plain arrays of parameters.
#pragma once

#include <span>

#include "kernels/adamw/adamw.h"
#include "ops/context.h"

namespace conclave::ops {

using kernels::AdamWStep;

// One AdamW step (formula in kernels/adamw/adamw.h). The four arrays have equal sizes and do not
// overlap; every element is updated from its own values alone.
void adamw_step(Context& context, std::span<float> w, std::span<const float> grad,
                std::span<float> m, std::span<float> v, const AdamWStep& step);

// sum_i x_i^2 in double: blocks of 4096 elements, each in a fixed order, added in order. The bits
// do not depend on the threads. NaN and infinity propagate.
double sum_of_squares(Context& context, std::span<const float> x);

// Whether no element is NaN or infinite; true for no elements.
bool all_finite(Context& context, std::span<const float> x);

}  // namespace conclave::ops
