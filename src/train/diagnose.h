// Where a number that is not finite shows first: for the message that stops a training run.
#pragma once

#include <string>

#include "nn/transformer.h"

namespace conclave::train {

// "layer 3, expert 7" of the first weight, or else the first activation in the order of the forward
// pass, that is not finite; "the output head" where all before it is. `activations` are those of a
// forward pass with keep; with recompute only the layer is known.
std::string locate_nonfinite(ops::Context& context, const nn::Transformer& transformer,
                             const nn::Activations& activations);

}  // namespace conclave::train
