// Causal attention of the query heads that share one key/value head, over a cache of keys and
// values (Vaswani et al. 2017, eq. 1; grouped queries after Ainslie et al. 2023):
//
//   s_ij = scale * <q_i, k_j>  for j <= i (and i - j < window where window > 0; and j >= first_key)
//   o_i  = sum_j p_ij v_j,  p_ij = exp(s_ij - lse_i),  lse_i = log(sum_j exp(s_ij))
// and backwards, with delta_i = <do_i, o_i> (Dao et al. 2022, algorithm 4):
//   dv_j = sum_i p_ij do_i;   ds_ij = p_ij (<do_i, v_j> - delta_i)
//   dq_i = scale * sum_j ds_ij k_j;   dk_j = scale * sum_i ds_ij q_i
//
// Keys and values of 64 consecutive positions are a block, which may lie anywhere: keys transposed,
// [Q][64], so that one vector holds one element of several keys, then values as rows, [64][Q].
// A block is what the online softmax takes together: one query alone reads it from end to end.
// They are f32, f16, or Q8_0: whole numbers of 8 bits, of which 32 of a key or value share a scale
// in f16. Narrow ones are widened exactly, so the bits are those of the same numbers in f32.
// Entries at positions that no query of the call sees never reach a result, whatever they hold.
//
// A forward result depends on the query, its position and the keys and values it sees, and on
// nothing else: not on how many queries the call has, nor where in it the query stands.
//
// Shape letters: T tokens of the call, S positions, R query heads that share the key/value head, Q
// head width. Strides are in elements, from token to token; heads are Q apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/dtype.h"
#include "sys/cpu.h"

namespace conclave::kernels {

inline constexpr int kAttentionKeyBlock = 64;
// Positions whose keys are weighed together before others are merged to them: 0 to 1023, and so on.
inline constexpr int kAttentionSpan = 1024;

// The blocks of one head: block i holds the positions from 64 i on, `offset` bytes behind
// blocks[i].
template <class T>
struct KvBlocks {
  const std::byte* const* blocks = nullptr;
  std::int64_t offset = 0;

  const T* keys(std::int64_t block) const {  // [Q][64]
    return reinterpret_cast<const T*>(blocks[block] + offset);
  }
  const T* values(std::int64_t block, int head_dim) const {  // [64][Q]
    return keys(block) + std::int64_t{kAttentionKeyBlock} * head_dim;
  }
};

enum class KvType : std::uint8_t { kF32, kF16, kQ8_0 };
inline constexpr KvType kKvTypes[] = {KvType::kF32, KvType::kF16, KvType::kQ8_0};
inline constexpr const char* kv_type_name(KvType type) {
  return type == KvType::kF32 ? "f32" : type == KvType::kF16 ? "f16" : "q8_0";
}

inline constexpr int kKvScaleGroup = 32;  // numbers that share a scale
inline constexpr std::int64_t kv_scale_groups(std::int64_t head_dim) {
  return (head_dim + kKvScaleGroup - 1) / kKvScaleGroup;
}

// The blocks of one head in Q8_0.
struct KvBlocksQ8 {
  const std::byte* const* blocks = nullptr;
  std::int64_t offset = 0;

  const std::int8_t* keys(std::int64_t block) const {  // [Q][64]
    return reinterpret_cast<const std::int8_t*>(blocks[block] + offset);
  }
  const f16* key_scales(std::int64_t block, int head_dim) const {  // [groups][64]
    return reinterpret_cast<const f16*>(keys(block) + std::int64_t{kAttentionKeyBlock} * head_dim);
  }
  const f16* value_scales(std::int64_t block, int head_dim) const {  // [64][groups]
    return key_scales(block, head_dim) + kAttentionKeyBlock * kv_scale_groups(head_dim);
  }
  const std::int8_t* values(std::int64_t block, int head_dim) const {  // [64][Q]
    return reinterpret_cast<const std::int8_t*>(value_scales(block, head_dim) +
                                                kAttentionKeyBlock * kv_scale_groups(head_dim));
  }
};

// Bytes of a block of one head.
inline std::int64_t kv_head_bytes(std::int64_t head_dim, KvType type) {
  const std::int64_t numbers = std::int64_t{2} * kAttentionKeyBlock * head_dim;
  switch (type) {
    case KvType::kF32:
      return numbers * 4;
    case KvType::kF16:
      return numbers * 2;
    case KvType::kQ8_0:
      return numbers + std::int64_t{2} * kAttentionKeyBlock * kv_scale_groups(head_dim) * 2;
  }
  return 0;
}

template <class Real>
struct AttentionForwardOf {
  KvBlocks<Real> kv;
  KvBlocks<f16> kv_half;    // instead of kv, where its blocks are not null
  KvBlocksQ8 kv_q8;         // likewise
  const Real* q = nullptr;  // [T, R, Q]
  std::int64_t q_stride = 0;
  Real* out = nullptr;  // [T, R, Q]
  std::int64_t out_stride = 0;
  Real* lse = nullptr;  // [T, R], heads 1 apart; may be null
  std::int64_t lse_stride = 0;
  std::int64_t first_position = 0;  // of the first token
  std::int64_t n_tokens = 0;        // T
  int n_heads = 0;                  // R
  int head_dim = 0;                 // Q
  int window = 0;                   // 0: none
  std::int64_t first_key = 0;       // keys before it are not seen
  Real scale = 0;
};
using AttentionForward = AttentionForwardOf<float>;

// The first position that any row of the call sees, and the spans of it and of the last.
inline std::int64_t first_key(const AttentionForward& a) {
  const std::int64_t in_window = a.window > 0 ? a.first_position - a.window + 1 : 0;
  const std::int64_t first = in_window > a.first_key ? in_window : a.first_key;
  return first > 0 ? first : 0;
}
inline std::int64_t first_span(const AttentionForward& a) { return first_key(a) / kAttentionSpan; }
inline std::int64_t last_span(const AttentionForward& a) {
  return (a.first_position + a.n_tokens - 1) / kAttentionSpan;
}

// A whole sequence: token t is at position t, and S = T.
template <class Real>
struct AttentionBackwardOf {
  KvBlocks<Real> kv;
  const Real* q = nullptr;  // [T, R, Q]
  std::int64_t q_stride = 0;
  const Real* out = nullptr;  // [T, R, Q], as the forward pass left it
  std::int64_t out_stride = 0;
  const Real* lse = nullptr;  // [T, R], as the forward pass left it
  std::int64_t lse_stride = 0;
  const Real* d_out = nullptr;  // [T, R, Q]
  std::int64_t d_out_stride = 0;
  Real* dq = nullptr;  // [T, R, Q], assigned
  std::int64_t dq_stride = 0;
  Real* dk = nullptr;  // [T, Q], assigned
  std::int64_t dk_stride = 0;
  Real* dv = nullptr;  // [T, Q], assigned
  std::int64_t dv_stride = 0;
  std::int64_t n_tokens = 0;  // T
  int n_heads = 0;            // R
  int head_dim = 0;           // Q
  int window = 0;
  Real scale = 0;
};
using AttentionBackward = AttentionBackwardOf<float>;

struct MatmulKernels;

struct AttentionKernel {
  sys::Isa isa;
  // Rows (token, head) that one call of `forward` works on best: they share every load of a key.
  int tile_rows;
  // Scratch floats, aligned to 64 bytes, that a call needs.
  std::int64_t (*forward_scratch)(std::int64_t n_tokens, int n_heads, int head_dim) noexcept;
  void (*forward)(const AttentionForward&, float* scratch) noexcept;
  // The same in parts, with the same bits: every span of positions that the call sees into a state
  // of its own (state_floats, aligned to 64 bytes), in any order, then all of them, from the first
  // on and one after the other in memory, into out and lse. Null where there is none.
  std::int64_t (*state_floats)(std::int64_t n_tokens, int n_heads, int head_dim) noexcept;
  void (*forward_span)(const AttentionForward&, std::int64_t span, float* state,
                       float* scratch) noexcept;
  void (*merge_spans)(const AttentionForward&, float* states, std::int64_t count) noexcept;
  // n keys or values as f16: the nearest one, of numbers beyond +-65504 that.
  void (*to_half)(const float* from, f16* to, std::int64_t n) noexcept;
  // n of a head's, in Q8_0: scales are the largest magnitude of their group / 127, at most 65504,
  // and NaN where one of its numbers is not finite.
  void (*to_q8)(const float* from, std::int8_t* to, f16* scales, std::int64_t n) noexcept;
  std::int64_t (*backward_scratch)(std::int64_t n_tokens, int n_heads, int head_dim) noexcept;
  void (*backward)(const AttentionBackward&, float* scratch) noexcept;
  // The backward pass over matrix product kernels: `scores` is one for f32, `products` makes the
  // other four products in its compute type. No window. Null where there is none.
  std::int64_t (*products_scratch)(std::int64_t n_tokens, int head_dim, const MatmulKernels& scores,
                                   const MatmulKernels& products) noexcept = nullptr;
  void (*backward_products)(const AttentionBackward&, const MatmulKernels& scores,
                            const MatmulKernels& products, float* scratch) noexcept = nullptr;
};

std::span<const AttentionKernel> attention_kernels();

}  // namespace conclave::kernels
