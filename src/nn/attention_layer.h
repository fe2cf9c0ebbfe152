// The attention sublayer of a block: projections, norms, positions, attention, output projection.
// Shape letters: T tokens, D width, H heads, G key/value heads, Q head width.
#pragma once

#include <vector>

#include "nn/block.h"

namespace conclave::nn {

// x[T, D] += residual_scale * attention(norm[T, D]), through the sequences' caches.
void attention_layer_forward(const BlockContext& context, int layer, const BlockWeights& weights,
                             MatrixView<const float> norm, MatrixView<float> x, BlockSaved& saved);
// dx[T, D] is the gradient of the sublayer's output; d_norm[T, D] is assigned. Only for
// configurations that check_trainable accepts.
void attention_layer_backward(const BlockContext& context, int layer, const BlockWeights& weights,
                              MatrixView<const float> dx, MatrixView<float> d_norm,
                              BlockSaved& saved, BlockGradients& scratch);

// Parts that latent attention shares.
std::vector<ops::AttentionSegment> attention_segments(const Batch& batch, int layer);
// Rotates the first elements of `n_heads` heads of every row by each sequence's angles.
void rotate_rows(const BlockContext& context, MatrixView<float> x, int n_heads, int head_dim,
                 bool inverse);
// x += residual_scale * (attn W_out + b_out).
void project_out(const BlockContext& context, const BlockWeights& weights,
                 MatrixView<const float> attn, MatrixView<float> x, BlockSaved& saved);

}  // namespace conclave::nn
