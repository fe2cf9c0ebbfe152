// The output head and its loss together, a block of rows at a time: the logits of a whole batch
// [T, V] are never in memory. Shape letters: T tokens, D width, V vocabulary.
#pragma once

#include <cstdint>
#include <span>

#include "nn/transformer.h"

namespace conclave::nn {

// nll_T[t] = -log p(targets_T[t]) given hidden states [T, D]; 0 where the target is -1.
void head_loss(ops::Context& context, const Transformer& transformer,
               MatrixView<const float> hidden, std::span<const std::int32_t> targets_T,
               float* nll_T);

// The same with gradients of scale * sum_t nll_T[t]: d_hidden[T, D] is assigned, the head's weight
// gradient accumulates in row order.
void head_loss_backward(ops::Context& context, const Transformer& transformer,
                        MatrixView<const float> hidden, std::span<const std::int32_t> targets_T,
                        float scale, MatrixView<float> d_hidden, float* nll_T);

}  // namespace conclave::nn
