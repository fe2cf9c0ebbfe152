#include "nn/latent_attention.h"

#include <algorithm>
#include <cmath>

#include "nn/attention_layer.h"
#include "ops/rowwise.h"

namespace conclave::nn {
namespace {

// Columns [column + h * stride, + width) of every row of x become rows h * T + t of `heads`.
void gather_heads(ops::Context& context, MatrixView<const float> x, int n_heads,
                  std::int64_t column, std::int64_t stride, MatrixView<float> heads) {
  const std::int64_t T = x.rows;
  context.pool.parallel_for(T, 8, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      for (int h = 0; h < n_heads; ++h) {
        std::copy_n(x.row(t) + column + h * stride, heads.cols, heads.row(h * T + t));
      }
    }
  });
}

// The inverse.
void scatter_heads(ops::Context& context, MatrixView<const float> heads, int n_heads,
                   std::int64_t column, std::int64_t stride, MatrixView<float> x) {
  const std::int64_t T = x.rows;
  context.pool.parallel_for(T, 8, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      for (int h = 0; h < n_heads; ++h) {
        std::copy_n(heads.row(h * T + t), heads.cols, x.row(t) + column + h * stride);
      }
    }
  });
}

// Rows h * T .. of `in` through the map of head h.
void map_heads(ops::Context& context, const std::vector<ops::Linear>& maps, std::int64_t T,
               MatrixView<const float> in, MatrixView<float> out) {
  std::vector<const ops::PackedMatrix*> packed;
  std::vector<std::int32_t> offsets = {0};
  for (const ops::Linear& map : maps) {
    packed.push_back(&map.forward);
    offsets.push_back(static_cast<std::int32_t>(offsets.back() + T));
  }
  ops::grouped_matmul(context, in, offsets, packed, out);
}

// The queries [T, H (Qr + Qn)], each head [rotary | other], rotated.
MatrixView<float> latent_queries(const BlockContext& context, const BlockWeights& weights,
                                 MatrixView<const float> norm, BlockSaved& saved) {
  const TransformerConfig& config = context.config;
  const LatentAttention& latent = config.attention.latent;
  const std::int64_t T = norm.rows;
  if (latent.q_rank > 0) {
    const MatrixView<float> down = saved.latent_q.resize(T, latent.q_rank);
    ops::linear_forward(context.ops, weights.latent.query_down, norm, down);
    if (weights.latent.query_bias.w != nullptr) {
      ops::add_bias(context.ops, weights.latent.query_bias.w, down);
    }
    ops::rmsnorm_forward(context.ops, down, weights.latent.query_norm.w, latent.norm_eps, down,
                         nullptr);
    norm = down;
  }
  const MatrixView<float> q = saved.qkv.resize(T, weights.qkv.out_features());
  ops::linear_forward(context.ops, weights.qkv, norm, q);
  rotate_rows(context, q, config.n_heads, latent.rope_dim + latent.nope_dim, false);
  return q;
}

// What is cached [T, R + Qr]: the latent, normalised, and the shared rotary key.
MatrixView<float> latent_keys(const BlockContext& context, const BlockWeights& weights,
                              MatrixView<const float> norm, BlockSaved& saved) {
  const LatentAttention& latent = context.config.attention.latent;
  const MatrixView<float> kv = saved.kv.resize(norm.rows, latent.kv_rank + latent.rope_dim);
  ops::linear_forward(context.ops, weights.latent.kv_down, norm, kv);
  if (weights.latent.kv_bias.w != nullptr) {
    ops::add_bias(context.ops, weights.latent.kv_bias.w, kv);
  }
  const MatrixView<float> c = kv.cols_range(0, latent.kv_rank);
  ops::rmsnorm_forward(context.ops, c, weights.latent.kv_norm.w, latent.norm_eps, c, nullptr);
  rotate_rows(context, kv.cols_range(latent.kv_rank, latent.rope_dim), 1, latent.rope_dim, false);
  return kv;
}

}  // namespace

void latent_attention_forward(const BlockContext& context, int layer, const BlockWeights& weights,
                              MatrixView<const float> norm, MatrixView<float> x,
                              BlockSaved& saved) {
  const TransformerConfig& config = context.config;
  const LatentAttention& latent = config.attention.latent;
  const std::int64_t T = norm.rows, R = latent.kv_rank, Qr = latent.rope_dim;
  const std::int64_t H = config.n_heads, Q = Qr + latent.nope_dim;
  const std::int64_t width = R + Qr;
  const MatrixView<float> q = latent_queries(context, weights, norm, saved);
  const MatrixView<float> kv = latent_keys(context, weights, norm, saved);

  // Queries of the shared key: [K_h^T q_other | q_rotary].
  const MatrixView<float> other = saved.heads_in.resize(H * T, latent.nope_dim);
  gather_heads(context.ops, q, config.n_heads, Qr, Q, other);
  const MatrixView<float> absorbed = saved.heads_out.resize(H * T, R);
  map_heads(context.ops, weights.latent.key_up, T, other, absorbed);
  const MatrixView<float> queries = saved.latent_q.resize(T, H * width);
  scatter_heads(context.ops, absorbed, config.n_heads, 0, width, queries);
  context.ops.pool.parallel_for(T, 8, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      for (std::int64_t h = 0; h < H; ++h) {
        std::copy_n(q.row(t) + h * Q, Qr, queries.row(t) + h * width + R);
      }
    }
  });

  const double scale =
      config.attention.scale > 0 ? config.attention.scale : 1.0 / std::sqrt(static_cast<double>(Q));
  const LayerAttention limits = config.attention_at(layer);
  const ops::AttentionShape shape = {config.n_heads,          1,
                                     static_cast<int>(width), static_cast<float>(scale),
                                     limits.window,           limits.chunk};
  const auto parts = attention_segments(context.batch, layer);
  const MatrixView<float> contexts = saved.latent_out.resize(T, H * width);
  ops::attention_append_forward(context.ops, shape, parts, queries, kv, kv, contexts, nullptr);

  const MatrixView<float> latents = saved.heads_out.resize(H * T, R);
  gather_heads(context.ops, contexts, config.n_heads, 0, width, latents);
  const MatrixView<float> values = saved.heads_in.resize(H * T, latent.value_dim);
  map_heads(context.ops, weights.latent.value_up, T, latents, values);
  const MatrixView<float> attn = saved.attn.resize(T, H * latent.value_dim);
  scatter_heads(context.ops, values, config.n_heads, 0, latent.value_dim, attn);
  project_out(context, weights, attn, x, saved);
}

}  // namespace conclave::nn
