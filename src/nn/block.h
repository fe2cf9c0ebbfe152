// One decoder block, forward and backward:
//   x += r attention(norm(x));  x += r experts(norm(x))
// (pre-norm, Xiong et al. 2020; the same block in training, prefill and decoding.)
// Shape letters: T tokens, D width, H heads, G key/value heads, Q head width.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "moe/layer.h"
#include "moe/store.h"
#include "nn/config.h"
#include "nn/kv_cache.h"
#include "nn/rope.h"
#include "ops/linear.h"
#include "ops/pointwise.h"
#include "tensor/float_matrix.h"

namespace conclave::nn {

// Consecutive tokens of one sequence within a batch, at positions first_position, +1, ...
struct SequenceChunk {
  KvCache* cache = nullptr;  // holds the positions before first_position
  std::int64_t row_begin = 0;
  std::int64_t row_count = 0;
  std::int64_t first_position = 0;
};

// A ragged batch: the chunks cover the rows 0 .. T-1 without gaps, in order; no cache is in two.
struct Batch {
  std::span<const std::int32_t> ids_T;
  std::vector<SequenceChunk> chunks;
  std::int64_t n_tokens() const { return static_cast<std::int64_t>(ids_T.size()); }
};

// A vector weight: value and, in training, gradient. Null where the model has none.
struct VectorWeight {
  float* w = nullptr;
  float* dw = nullptr;
};

struct NormWeights {
  VectorWeight w, b;  // [D]
};

// Latent attention: see nn::LatentAttention for the letters.
struct LatentWeights {
  ops::Linear query_down;                     // [Rq, D]
  VectorWeight query_bias, query_norm;        // [Rq]
  ops::Linear kv_down;                        // [R + Qr, D]
  VectorWeight kv_bias;                       // [R + Qr]
  VectorWeight kv_norm;                       // [R]
  std::vector<ops::Linear> key_up, value_up;  // one a head: [R, Qn], [Qv, R]
};

struct BlockWeights {
  NormWeights attn_norm;
  ops::Linear qkv;              // [(H + 2G) Q, D]; latent attention: queries, [H Q, D or Rq]
  VectorWeight qkv_bias;        // [(H + 2G) Q]
  VectorWeight q_norm, k_norm;  // [Q] or [H Q], [G Q]
  VectorWeight sinks;           // [H]
  LatentWeights latent;
  ops::Linear attn_out;        // [D, H*Q]
  VectorWeight attn_out_bias;  // [D]
  NormWeights ffn_norm;
  moe::LayerWeights ffn;
};

// What the forward pass leaves for the backward pass; in inference, one is the work space of all
// layers.
struct BlockSaved {
  FloatMatrix x_in, x_mid;   // [T, D] residual stream before attention, before the experts
  FloatMatrix norm1, norm2;  // [T, D]
  FloatMatrix rstd1, rstd2;  // [T, 1]
  FloatMatrix qkv;           // [T, (H + 2G) Q], rotated
  FloatMatrix attn;          // [T, H*Q]
  FloatMatrix lse;           // [T, H]
  FloatMatrix branch;        // [T, D] of a sublayer whose output is scaled
  FloatMatrix kv, heads_in, heads_out, latent_q, latent_out;  // latent attention
  moe::LayerSaved ffn;
};

// Everything a block needs besides its own weights.
struct BlockContext {
  ops::Context& ops;
  const TransformerConfig& config;
  moe::ExpertStore& store;
  const Batch& batch;
  const ops::RopeTable* rope[2];  // of short and of long sequences; the second may be null
  std::span<const std::int32_t> positions_T;
  moe::RoutingContext routing;
  bool keep = false;  // keep what the backward pass needs
};

// y = norm(x) of the model's kind; rstd is for the backward pass of RMSNorm.
void norm_forward(ops::Context& context, const TransformerConfig& config, MatrixView<const float> x,
                  const NormWeights& weights, MatrixView<float> y, FloatMatrix& rstd);

// x[T, D] is the residual stream, updated in place.
void block_forward(const BlockContext& context, int layer, const BlockWeights& weights,
                   MatrixView<float> x, BlockSaved& saved);
// dx[T, D]: the gradient of the block's output on entry, of its input on return.
void block_backward(const BlockContext& context, int layer, const BlockWeights& weights,
                    BlockSaved& saved, MatrixView<float> dx, struct BlockGradients& scratch);

// Work space of the backward pass, shared by all layers.
struct BlockGradients {
  FloatMatrix d_qkv, d_attn, d_norm;
  moe::LayerGradients ffn;
};

}  // namespace conclave::nn
