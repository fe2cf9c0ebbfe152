// Multi-head latent attention (DeepSeek-AI 2024, "DeepSeek-V2", section 2.1) in its absorbed form:
// a head's key k_i = K_h c_i and value V_h c_i are never made, because <q, K_h c_i> = <K_h^T q,
// c_i> and sum_i p_i V_h c_i = V_h sum_i p_i c_i. All heads attend to one shared key [c_i | k^R_i],
// and only that is cached: R + Qr numbers a token and layer instead of H (Q + Qv).
//
// Prefill and decoding run the same form, so that a token's bits do not depend on how it came.
// Expanding keys and values for long prompts would take fewer products (Q + Qv instead of
// 2 R + Qr a pair and head) but is other arithmetic.
//
// Shape letters: T tokens, H heads, R latent width, Qr rotary and Qn other elements of a head's
// query, Qv width of a head's value.
#pragma once

#include "nn/block.h"

namespace conclave::nn {

// As attention_layer_forward. The cache of a layer holds one head of width R + Qr.
void latent_attention_forward(const BlockContext& context, int layer, const BlockWeights& weights,
                              MatrixView<const float> norm, MatrixView<float> x, BlockSaved& saved);

}  // namespace conclave::nn
