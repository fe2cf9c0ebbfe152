// What a decoder model is, in numbers: the block recipe that models/ makes from a config.json and
// that training makes from a recipe. Shape letters: V vocabulary, D width, L layers, H query heads,
// G key/value heads, Q head width, F expert width, E experts, K experts per token.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "moe/layer.h"

namespace conclave::nn {

struct RopeConfig {
  double theta = 10000.0;  // angle of pair i at position p: p * theta^(-2i / rotary_dim)
  int rotary_dim = 0;      // elements of a head that rotate; even; 0: all of them
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
  RopeConfig rope;
  int window = 0;  // sliding window of attention, 0: none
  bool tie_embeddings = false;
  std::int64_t max_positions = 2048;    // context length that the model was made for
  std::vector<moe::LayerConfig> ffn_L;  // one a layer; a dense FFN is one expert
  int bos_id = -1;                      // special tokens, -1: none
  int eos_id = -1;
  int pad_id = -1;
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

}  // namespace conclave::nn
