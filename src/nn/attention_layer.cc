#include "nn/attention_layer.h"

#include <algorithm>
#include <cmath>

#include "nn/latent_attention.h"
#include "ops/rowwise.h"

namespace conclave::nn {
namespace {

ops::AttentionShape attention_shape(const TransformerConfig& config, int layer) {
  const double scale = config.attention.scale > 0
                           ? config.attention.scale
                           : 1.0 / std::sqrt(static_cast<double>(config.head_dim));
  const LayerAttention limits = config.attention_at(layer);
  return {config.n_heads, config.n_kv_heads, config.head_dim, static_cast<float>(scale),
          limits.window,  limits.chunk};
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

// Queries and keys lie side by side: one call rotates both.
void rotate_qk(const BlockContext& context, MatrixView<float> qkv, bool inverse) {
  const TransformerConfig& config = context.config;
  rotate_rows(context, qkv, config.n_heads + config.n_kv_heads, config.head_dim, inverse);
}

void normalise_qk(const BlockContext& context, int layer, const BlockWeights& weights,
                  const QkvColumns<float>& columns) {
  const TransformerConfig& config = context.config;
  switch (config.attention.qk_norm) {
    case QkNorm::kNone:
      return;
    case QkNorm::kProjection:
      ops::rmsnorm_forward(context.ops, columns.q, weights.q_norm.w, config.norm_eps, columns.q,
                           nullptr);
      ops::rmsnorm_forward(context.ops, columns.k, weights.k_norm.w, config.norm_eps, columns.k,
                           nullptr);
      return;
    case QkNorm::kUnit:
      if (!config.attention_at(layer).rope) return;
      [[fallthrough]];
    case QkNorm::kHead:
      ops::rmsnorm_heads(context.ops, columns.q, config.n_heads, config.head_dim, weights.q_norm.w,
                         config.norm_eps);
      ops::rmsnorm_heads(context.ops, columns.k, config.n_kv_heads, config.head_dim,
                         weights.k_norm.w, config.norm_eps);
      return;
  }
}

// Llama 4: queries of layers without positions grow with the logarithm of their position.
void apply_temperature(const BlockContext& context, int layer, MatrixView<float> q) {
  const AttentionConfig& a = context.config.attention;
  if (a.temperature_scale == 0 || context.config.attention_at(layer).rope) return;
  std::vector<float> factor_T;
  for (const std::int32_t position : context.positions_T) {
    const std::int64_t steps = (position + 1) / a.temperature_floor;
    factor_T.push_back(
        static_cast<float>(1 + a.temperature_scale * std::log1p(static_cast<double>(steps))));
  }
  ops::scale_rows(context.ops, factor_T.data(), q);
}

}  // namespace

std::vector<ops::AttentionSegment> attention_segments(const Batch& batch, int layer) {
  std::vector<ops::AttentionSegment> result;
  for (const SequenceChunk& chunk : batch.chunks) {
    result.push_back(
        {chunk.row_begin, chunk.row_count, chunk.first_position, chunk.cache->layer(layer)});
  }
  return result;
}

void rotate_rows(const BlockContext& context, MatrixView<float> x, int n_heads, int head_dim,
                 bool inverse) {
  if (context.rope[1] == nullptr) {
    ops::rope_inplace(context.ops, x, n_heads, head_dim, *context.rope[0], context.positions_T,
                      inverse);
    return;
  }
  for (const SequenceChunk& chunk : context.batch.chunks) {
    const bool is_long =
        chunk.cache->length_limit() > context.config.rope.scaling.original_positions;
    ops::rope_inplace(context.ops, x.rows_range(chunk.row_begin, chunk.row_count), n_heads,
                      head_dim, *context.rope[is_long ? 1 : 0],
                      context.positions_T.subspan(static_cast<std::size_t>(chunk.row_begin),
                                                  static_cast<std::size_t>(chunk.row_count)),
                      inverse);
  }
}

void project_out(const BlockContext& context, const BlockWeights& weights,
                 MatrixView<const float> attn, MatrixView<float> x, BlockSaved& saved) {
  const ops::PartClock::Scope part(context.ops.parts, ops::ModelPart::kDense);
  const float scale = context.config.residual_scale;
  if (scale == 1) {
    ops::linear_forward(context.ops, weights.attn_out, attn, x, /*accumulate=*/true);
    if (weights.attn_out_bias.w != nullptr) {
      ops::add_bias(context.ops, weights.attn_out_bias.w, x);
    }
    return;
  }
  const MatrixView<float> branch = saved.branch.resize(x.rows, x.cols);
  ops::linear_forward(context.ops, weights.attn_out, attn, branch);
  if (weights.attn_out_bias.w != nullptr) {
    ops::add_bias(context.ops, weights.attn_out_bias.w, branch);
  }
  ops::add_scaled(context.ops, scale, branch, x);
}

void attention_layer_forward(const BlockContext& context, int layer, const BlockWeights& weights,
                             MatrixView<const float> norm, MatrixView<float> x, BlockSaved& saved) {
  using ops::ModelPart;
  using PartScope = ops::PartClock::Scope;
  const PartScope part(context.ops.parts, ModelPart::kAttention);
  const TransformerConfig& config = context.config;
  if (config.attention.latent.enabled()) {
    return latent_attention_forward(context, layer, weights, norm, x, saved);
  }
  const AttentionConfig& options = config.attention;
  const std::int64_t T = norm.rows;
  const MatrixView<float> qkv = saved.qkv.resize(T, weights.qkv.out_features());
  {
    const PartScope product(context.ops.parts, ModelPart::kDense);
    ops::linear_forward(context.ops, weights.qkv, norm, qkv);
  }
  const QkvColumns<float> columns(config, qkv);
  if (weights.qkv_bias.w != nullptr) ops::add_bias(context.ops, weights.qkv_bias.w, qkv);
  // A clamp follows the norm of whole projections (OLMoE); models without that norm clamp too.
  if (!options.norm_after_rope) normalise_qk(context, layer, weights, columns);
  if (options.clip_qkv > 0) ops::clamp(context.ops, static_cast<float>(options.clip_qkv), qkv);
  if (config.attention_at(layer).rope) rotate_qk(context, qkv, false);
  if (options.norm_after_rope) normalise_qk(context, layer, weights, columns);
  apply_temperature(context, layer, columns.q);

  const ops::AttentionShape shape = attention_shape(config, layer);
  const auto parts = attention_segments(context.batch, layer);
  const MatrixView<float> attn = saved.attn.resize(T, columns.q.cols);
  const bool needs_lse = context.keep || weights.sinks.w != nullptr;
  float* lse = needs_lse ? saved.lse.resize(T, config.n_heads).data : nullptr;
  ops::attention_append_forward(context.ops, shape, parts, columns.q, columns.k, columns.v, attn,
                                lse);
  if (weights.sinks.w != nullptr) {
    ops::apply_sinks(context.ops, weights.sinks.w, lse, config.n_heads, config.head_dim, attn);
  }
  project_out(context, weights, attn, x, saved);
}

void attention_layer_backward(const BlockContext& context, int layer, const BlockWeights& weights,
                              MatrixView<const float> dx, MatrixView<float> d_norm,
                              BlockSaved& saved, BlockGradients& scratch) {
  const TransformerConfig& config = context.config;
  const MatrixView<float> attn = saved.attn.view();
  const MatrixView<float> d_attn = scratch.d_attn.resize(dx.rows, attn.cols);
  ops::linear_backward(context.ops, weights.attn_out, attn, dx, d_attn);
  const MatrixView<float> d_qkv = scratch.d_qkv.resize(dx.rows, weights.qkv.out_features());
  const QkvColumns<float> columns(config, saved.qkv.view());
  const QkvColumns<float> gradients(config, d_qkv);
  ops::AttentionShape shape = attention_shape(config, layer);
  shape.backward = weights.qkv.compute;
  ops::attention_backward(context.ops, shape, attention_segments(context.batch, layer), columns.q,
                          attn, saved.lse.data(), d_attn, gradients.q, gradients.k, gradients.v);
  rotate_qk(context, d_qkv, /*inverse=*/true);
  ops::linear_backward(context.ops, weights.qkv, saved.norm1.view(), d_qkv, d_norm);
}

}  // namespace conclave::nn
