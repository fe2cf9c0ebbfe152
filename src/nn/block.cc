#include "nn/block.h"

#include <algorithm>
#include <cmath>

namespace conclave::nn {
namespace {

ops::AttentionShape attention_shape(const TransformerConfig& config) {
  const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.head_dim)));
  return {config.n_heads, config.n_kv_heads, config.head_dim, scale, config.window};
}

std::vector<ops::AttentionSegment> segments(const Batch& batch, int layer) {
  std::vector<ops::AttentionSegment> result;
  for (const SequenceChunk& chunk : batch.chunks) {
    result.push_back(
        {chunk.row_begin, chunk.row_count, chunk.first_position, chunk.cache->layer(layer)});
  }
  return result;
}

// The query, key and value columns of a row of qkv.
template <class T>
struct QkvColumns {
  MatrixView<T> q, k, v;
  QkvColumns(const TransformerConfig& config, MatrixView<T> qkv) {
    const std::int64_t q_cols = static_cast<std::int64_t>(config.n_heads) * config.head_dim;
    const std::int64_t kv_cols = static_cast<std::int64_t>(config.n_kv_heads) * config.head_dim;
    q = qkv.cols_range(0, q_cols);
    k = qkv.cols_range(q_cols, kv_cols);
    v = qkv.cols_range(q_cols + kv_cols, kv_cols);
  }
};

void copy_rows(ops::Context& context, MatrixView<const float> from, MatrixView<float> to) {
  context.pool.parallel_for(from.rows, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      std::copy_n(from.row(r), from.cols, to.row(r));
    }
  });
}

// Rotates queries and keys, which lie side by side.
void rotate(const BlockContext& context, MatrixView<float> qkv, bool inverse) {
  const TransformerConfig& config = context.config;
  const int heads = config.n_heads + config.n_kv_heads;
  ops::rope_inplace(context.ops,
                    qkv.cols_range(0, static_cast<std::int64_t>(heads) * config.head_dim), heads,
                    config.head_dim, context.rope, context.positions_T, inverse);
}

void attention_part(const BlockContext& context, int layer, const BlockWeights& weights,
                    MatrixView<float> x, BlockSaved& saved) {
  const TransformerConfig& config = context.config;
  const std::int64_t T = x.rows;
  const std::int64_t q_cols = static_cast<std::int64_t>(config.n_heads) * config.head_dim;
  const MatrixView<float> norm = saved.norm1.resize(T, x.cols);
  ops::rmsnorm_forward(context.ops, x, weights.attn_norm.w, config.norm_eps, norm,
                       saved.rstd1.resize(T, 1).data);
  const MatrixView<float> qkv = saved.qkv.resize(T, weights.qkv.out_features());
  ops::linear_forward(context.ops, weights.qkv, norm, qkv);
  rotate(context, qkv, false);
  const QkvColumns<float> columns(config, qkv);
  const ops::AttentionShape shape = attention_shape(config);
  const auto parts = segments(context.batch, layer);
  ops::kv_append(context.ops, shape, parts, columns.k, columns.v);
  const MatrixView<float> attn = saved.attn.resize(T, q_cols);
  float* lse = context.keep ? saved.lse.resize(T, config.n_heads).data : nullptr;
  ops::attention_forward(context.ops, shape, parts, columns.q, attn, lse);
  ops::linear_forward(context.ops, weights.attn_out, attn, x, /*accumulate=*/true);
}

}  // namespace

void block_forward(const BlockContext& context, int layer, const BlockWeights& weights,
                   MatrixView<float> x, BlockSaved& saved) {
  const std::int64_t T = x.rows;
  if (context.keep) copy_rows(context.ops, x, saved.x_in.resize(T, x.cols));
  attention_part(context, layer, weights, x, saved);
  if (context.keep) copy_rows(context.ops, x, saved.x_mid.resize(T, x.cols));
  const MatrixView<float> norm = saved.norm2.resize(T, x.cols);
  ops::rmsnorm_forward(context.ops, x, weights.ffn_norm.w, context.config.norm_eps, norm,
                       saved.rstd2.resize(T, 1).data);
  moe::layer_forward(context.ops, context.config.ffn_L[static_cast<std::size_t>(layer)],
                     weights.ffn, context.store, layer, context.routing, norm, x, saved.ffn);
}

void block_backward(const BlockContext& context, int layer, const BlockWeights& weights,
                    BlockSaved& saved, MatrixView<float> dx, BlockGradients& scratch) {
  const TransformerConfig& config = context.config;
  const std::int64_t T = dx.rows;
  const MatrixView<float> d_norm = scratch.d_norm.resize(T, dx.cols);
  moe::layer_backward(context.ops, config.ffn_L[static_cast<std::size_t>(layer)], weights.ffn,
                      context.store, layer, context.routing, saved.norm2.view(), dx, d_norm,
                      saved.ffn, scratch.ffn);
  ops::rmsnorm_backward(context.ops, saved.x_mid.view(), weights.ffn_norm.w, saved.rstd2.data(),
                        d_norm, dx, /*add_to_dx=*/true, weights.ffn_norm.dw);

  const MatrixView<float> attn = saved.attn.view();
  const MatrixView<float> d_attn = scratch.d_attn.resize(T, attn.cols);
  ops::linear_backward(context.ops, weights.attn_out, attn, dx, d_attn);
  const MatrixView<float> d_qkv = scratch.d_qkv.resize(T, weights.qkv.out_features());
  const QkvColumns<float> columns(config, saved.qkv.view());
  const QkvColumns<float> gradients(config, d_qkv);
  ops::attention_backward(context.ops, attention_shape(config), segments(context.batch, layer),
                          columns.q, attn, saved.lse.data(), d_attn, gradients.q, gradients.k,
                          gradients.v);
  rotate(context, d_qkv, /*inverse=*/true);
  ops::linear_backward(context.ops, weights.qkv, saved.norm1.view(), d_qkv, d_norm);
  ops::rmsnorm_backward(context.ops, saved.x_in.view(), weights.attn_norm.w, saved.rstd1.data(),
                        d_norm, dx, /*add_to_dx=*/true, weights.attn_norm.dw);
}

}  // namespace conclave::nn
