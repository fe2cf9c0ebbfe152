// Input jitter (Fedus et al. 2021, appendix C): in training, the router's input is multiplied
// element by element with U(1 - jitter, 1 + jitter).
//
// Linear in x with factors that are a function of (rng, first_token + t, column), so the same call
// on the gradient is the backward pass. Whether the experts see the jittered x is the model's
// choice: pass a copy (Switch) or the stream itself (Mixtral).
#pragma once

#include <cstdint>

#include "base/rng.h"
#include "ops/context.h"
#include "tensor/tensor.h"

namespace conclave::moe {

// x_TD *= factors, in place. jitter = 0 does nothing. Instantiated for float and double.
template <class Real>
void apply_jitter(ops::Context& context, double jitter, const Rng& rng, std::uint64_t first_token,
                  MatrixView<Real> x_TD);

}  // namespace conclave::moe
