#include "nn/block.h"

#include <algorithm>

#include "nn/attention_layer.h"
#include "ops/rowwise.h"

namespace conclave::nn {
namespace {

void copy_rows(ops::Context& context, MatrixView<const float> from, MatrixView<float> to) {
  context.pool.parallel_for(from.rows, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      std::copy_n(from.row(r), from.cols, to.row(r));
    }
  });
}

}  // namespace

void norm_forward(ops::Context& context, const TransformerConfig& config, MatrixView<const float> x,
                  const NormWeights& weights, MatrixView<float> y, FloatMatrix& rstd) {
  if (config.norm == NormKind::kLayer) {
    ops::layernorm_forward(context, x, weights.w.w, weights.b.w, config.norm_eps, y);
  } else {
    ops::rmsnorm_forward(context, x, weights.w.w, config.norm_eps, y, rstd.resize(x.rows, 1).data);
  }
}

void block_forward(const BlockContext& context, int layer, const BlockWeights& weights,
                   MatrixView<float> x, BlockSaved& saved) {
  const TransformerConfig& config = context.config;
  const std::int64_t T = x.rows;
  if (context.keep) copy_rows(context.ops, x, saved.x_in.resize(T, x.cols));
  const MatrixView<float> norm1 = saved.norm1.resize(T, x.cols);
  norm_forward(context.ops, config, x, weights.attn_norm, norm1, saved.rstd1);
  attention_layer_forward(context, layer, weights, norm1, x, saved);
  if (context.keep) copy_rows(context.ops, x, saved.x_mid.resize(T, x.cols));
  const MatrixView<float> norm2 = saved.norm2.resize(T, x.cols);
  norm_forward(context.ops, config, x, weights.ffn_norm, norm2, saved.rstd2);
  const moe::LayerConfig& ffn = config.ffn_L[static_cast<std::size_t>(layer)];
  if (config.residual_scale == 1) {
    moe::layer_forward(context.ops, ffn, weights.ffn, context.store, layer, context.routing, norm2,
                       x, saved.ffn);
    return;
  }
  const MatrixView<float> branch = saved.branch.resize(T, x.cols);
  std::fill_n(branch.data, T * x.cols, 0.0f);
  moe::layer_forward(context.ops, ffn, weights.ffn, context.store, layer, context.routing, norm2,
                     branch, saved.ffn);
  ops::add_scaled(context.ops, config.residual_scale, branch, x);
}

void block_backward(const BlockContext& context, int layer, const BlockWeights& weights,
                    BlockSaved& saved, MatrixView<float> dx, BlockGradients& scratch) {
  const TransformerConfig& config = context.config;
  const MatrixView<float> d_norm = scratch.d_norm.resize(dx.rows, dx.cols);
  moe::layer_backward(context.ops, config.ffn_L[static_cast<std::size_t>(layer)], weights.ffn,
                      context.store, layer, context.routing, saved.norm2.view(), dx, d_norm,
                      saved.ffn, scratch.ffn);
  ops::rmsnorm_backward(context.ops, saved.x_mid.view(), weights.ffn_norm.w.w, saved.rstd2.data(),
                        d_norm, dx, /*add_to_dx=*/true, weights.ffn_norm.w.dw);
  attention_layer_backward(context, layer, weights, dx, d_norm, saved, scratch);
  ops::rmsnorm_backward(context.ops, saved.x_in.view(), weights.attn_norm.w.w, saved.rstd1.data(),
                        d_norm, dx, /*add_to_dx=*/true, weights.attn_norm.w.dw);
}

}  // namespace conclave::nn
