// Causal grouped-query attention over a ragged batch, flash-style: no [S, S] matrix is stored.
//
//   s_ij = scale * <q_i, k_j>  for j <= i (and i - j < window where window > 0)
//   o_i  = sum_j softmax_j(s_ij) v_j
//
// (Vaswani et al. 2017, eq. 1; online softmax and the backward recomputation after Dao et al. 2022,
// algorithms 1 and 4; grouped queries after Ainslie et al. 2023.) Keys and values live in a cache,
// in training as in inference: training's cache is the saved activation.
//
// Same bits: keys are taken in blocks aligned to absolute positions and each output is accumulated
// in the order of positions, so a query gives identical bits alone (decoding), in a chunk, or in a
// full pass, on any number of threads. A masked key contributes nothing, not even a rounding.
//
// Shape letters: T query tokens, S positions, H query heads, G key/value heads, Q head width.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/attention/attention.h"
#include "ops/context.h"
#include "tensor/tensor.h"

namespace conclave::ops {

struct AttentionShape {
  int n_heads = 0;     // H, a multiple of G
  int n_kv_heads = 0;  // G
  int head_dim = 0;    // Q
  float scale = 0;     // usually Q^-1/2
  int window = 0;      // 0: none; else a query sees its own and the window-1 positions before it
  int chunk = 0;       // 0: none; else a query sees only its own chunk of positions: from
                       // position / chunk * chunk on. Forward only
  // What the backward pass multiplies in, but for the scores: kF32 or kBF16 (with a window, f32).
  DType backward = DType::kF32;
};

// Keys and values of 64 consecutive positions are a block: [G] heads, each its keys transposed,
// [Q][64], so that one vector holds one element of several keys, then its values as rows, [64][Q].
// In Q8_0 the scales of both lie between them (kernels::KvBlocksQ8).
inline constexpr int kKeyBlock = kernels::kAttentionKeyBlock;
using kernels::KvType;

// The keys and values of one layer of one sequence; borrowed. Block i, `offset` bytes behind
// blocks[i], holds the positions from 64 i on; what it holds at positions that were never appended
// is not read into any result. In f32; in f16, which halves what decoding reads: numbers beyond
// 65504 are cut to it; or in Q8_0, 34 bytes for 32 numbers. Only f32 can be trained with.
struct KvView {
  std::byte* const* blocks = nullptr;
  std::int64_t n_blocks = 0;
  std::int64_t offset = 0;
  KvType type = KvType::kF32;

  std::int64_t capacity() const { return n_blocks * kKeyBlock; }
};
// Bytes of a layer's part of a block.
inline std::int64_t kv_block_bytes(int n_kv_heads, int head_dim, KvType type) {
  return n_kv_heads * kernels::kv_head_bytes(head_dim, type);
}

// Consecutive tokens of one sequence within the batch.
struct AttentionSegment {
  std::int64_t row_begin = 0;       // first row in q, k, v, out
  std::int64_t row_count = 0;       // rows, at consecutive positions
  std::int64_t first_position = 0;  // position of the first row; earlier ones are in kv already
  KvView kv;
};

// Writes rows k [T, G*Q] and v [T, G*Q] into the segments' caches at their positions.
void kv_append(Context& context, const AttentionShape& shape,
               std::span<const AttentionSegment> segments, MatrixView<const float> k,
               MatrixView<const float> v);

// out[T, H*Q] from q[T, H*Q] and the caches (which already hold the segments' own rows).
// lse_TH [T, H], when not null, receives log(sum_j exp(s_ij)) for the backward pass.
void attention_forward(Context& context, const AttentionShape& shape,
                       std::span<const AttentionSegment> segments, MatrixView<const float> q,
                       MatrixView<float> out, float* lse_TH);

// kv_append, then attention_forward, with the same bits, in one parallel region where every
// segment's rows fit one tile of a head and lie in one span of positions, as those of decoding do.
// No two segments are of one sequence, and out overlaps neither k nor v.
void attention_append_forward(Context& context, const AttentionShape& shape,
                              std::span<const AttentionSegment> segments, MatrixView<const float> q,
                              MatrixView<const float> k, MatrixView<const float> v,
                              MatrixView<float> out, float* lse_TH);

// dq[T, H*Q], dk[T, G*Q], dv[T, G*Q] are assigned. Every segment must start at position 0 (training
// sees whole sequences) and keep f32. out, lse_TH: as the forward pass left them.
void attention_backward(Context& context, const AttentionShape& shape,
                        std::span<const AttentionSegment> segments, MatrixView<const float> q,
                        MatrixView<const float> out, const float* lse_TH,
                        MatrixView<const float> d_out, MatrixView<float> dq, MatrixView<float> dk,
                        MatrixView<float> dv);

}  // namespace conclave::ops
