// What a decoder model is, in numbers: the block recipe that models/ makes from a config.json and
// that training makes from a recipe. Shape letters: V vocabulary, D width, L layers, H query heads,
// G key/value heads, Q head width, F expert width, E experts, K experts per token.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "moe/layer.h"

namespace conclave::nn {

// How the rotary angles are stretched for contexts longer than the model was first made for; the
// formulas are in nn/rope.cc.
enum class RopeScalingKind : std::uint8_t {
  kNone,
  kLinear,      // positions divided by `factor`
  kYarn,        // Peng et al. 2023, section 3
  kWavelength,  // pairs of long wavelengths divided by `factor` ("llama3" in config.json)
  kLongRope,    // Ding et al. 2024: a divisor for every pair, for short and for long sequences
  kFactors,     // a divisor for every pair, `short_factors`
};

struct RopeScaling {
  RopeScalingKind kind = RopeScalingKind::kNone;
  double factor = 1;
  std::int64_t original_positions = 0;               // the context before stretching
  double beta_fast = 32, beta_slow = 1;              // kYarn
  bool truncate = true;                              // kYarn: whole pairs limit the ramp
  double low_freq_factor = 1, high_freq_factor = 4;  // kWavelength
  std::vector<double> short_factors, long_factors;   // kLongRope, rotary_dim / 2 each
  // Multiply cosines and sines: of sequences up to original_positions, and of longer ones
  // (kLongRope; the others use the first alone).
  double magnitude = 1, long_magnitude = 1;
};

struct RopeConfig {
  double theta = 10000.0;  // angle of pair i at position p: p * theta^(-2i / rotary_dim)
  int rotary_dim = 0;      // elements of a head that rotate; even; 0: all of them
  // Files store the rotary elements of a head as neighbouring pairs (2i, 2i + 1). Only models/
  // looks at this: in memory the pairs are always (i, i + rotary_dim / 2).
  bool stored_in_pairs = false;
  RopeScaling scaling;
};

enum class NormKind : std::uint8_t {
  kRms,    // RMSNorm (Zhang & Sennrich 2019)
  kLayer,  // LayerNorm (Ba et al. 2016)
};

// RMSNorm of queries and keys.
enum class QkNorm : std::uint8_t {
  kNone,
  kHead,        // over each head, weight [Q] shared by the heads
  kProjection,  // over all heads together, weight [H*Q] and [G*Q]
  kUnit,        // over each head, without a weight, in layers with rotary positions only
};

// Multi-head latent attention (DeepSeek-AI 2024, DeepSeek-V2, section 2.1): keys and values of all
// heads are linear maps of one latent vector, and only that and one rotary key are cached.
struct LatentAttention {
  int kv_rank = 0;         // R: width of the latent; 0: ordinary attention
  int q_rank = 0;          // width of the queries' latent, 0: queries are projected directly
  int nope_dim = 0;        // elements of a head's key without positions
  int rope_dim = 0;        // elements of the rotary key that the heads share
  int value_dim = 0;       // width of a head's value
  float norm_eps = 1e-6f;  // of the two norms of latents
  bool enabled() const { return kv_rank > 0; }
};

// What differs between the layers' attention.
struct LayerAttention {
  int window = 0;    // a query sees its own and the window - 1 positions before it; 0: no limit
  int chunk = 0;     // a query sees positions of its own chunk only; 0: no chunks
  bool rope = true;  // false: no rotary positions
  bool operator==(const LayerAttention&) const = default;
};

struct AttentionConfig {
  bool qkv_bias = false;  // latent attention: of the maps to the latents
  bool out_bias = false;
  QkNorm qk_norm = QkNorm::kNone;
  bool norm_after_rope = false;
  double clip_qkv = 0;  // queries, keys, values are clamped to +-clip_qkv; 0: not
  bool sinks = false;   // a learnt logit per head joins the softmax and takes no value
  double scale = 0;     // of the scores; 0: Q^-1/2
  // Layers without rotary positions: q *= 1 + scale * log(1 + floor((p + 1) / floor)); 0: not.
  double temperature_scale = 0;
  std::int64_t temperature_floor = 0;
  LatentAttention latent;
};

struct TransformerConfig {
  std::string architecture;  // the registry's name; decides file names, never the mathematics
  int vocab_size = 0;        // V
  int d_model = 0;           // D
  int n_layers = 0;          // L
  int n_heads = 0;           // H
  int n_kv_heads = 0;        // G
  int head_dim = 0;          // Q
  float norm_eps = 1e-5f;
  NormKind norm = NormKind::kRms;  // of the residual stream
  bool norm_bias = false;
  RopeConfig rope;
  AttentionConfig attention;
  std::vector<LayerAttention> attention_L;  // one a layer; empty: no limits, positions everywhere
  float embedding_scale = 1;                // multiplies the embedding's rows
  float residual_scale = 1;                 // multiplies what each sublayer adds
  float logit_scale = 1;                    // multiplies the logits
  bool head_bias = false;
  bool tie_embeddings = false;
  std::int64_t max_positions = 2048;    // context length that the model was made for
  std::vector<moe::LayerConfig> ffn_L;  // one a layer; a dense FFN is one expert
  int bos_id = -1;                      // special tokens, -1: none
  int eos_id = -1;
  int pad_id = -1;

  LayerAttention attention_at(int layer) const {
    return attention_L.empty() ? LayerAttention{} : attention_L[static_cast<std::size_t>(layer)];
  }
  // Key/value heads of the cache and the width of each: latent attention caches one shared head.
  int cache_heads() const { return attention.latent.enabled() ? 1 : n_kv_heads; }
  int cache_dim() const {
    return attention.latent.enabled() ? attention.latent.kv_rank + attention.latent.rope_dim
                                      : head_dim;
  }
};

// Parameters in all, and those that one token uses (its K experts instead of all E).
struct ParameterCounts {
  std::int64_t total = 0;
  std::int64_t active = 0;
  std::int64_t active_matmul = 0;  // active ones that multiply: without embedding rows and norms
};
ParameterCounts count_parameters(const TransformerConfig& config);

// Throws Error(kInvalidArgument) naming the field that makes no sense or whose sizes overflow.
void validate(const TransformerConfig& config);

// Throws Error(kUnsupported) naming the first thing that has no backward pass.
void check_trainable(const TransformerConfig& config);

}  // namespace conclave::nn
