// What routers did: the decisions of a token sequence, and counts over many.
// Shape letters: T tokens, E experts, K experts per token (slots), L layers.
#pragma once

#include <cstdint>
#include <vector>

namespace conclave {

// Marks an unused slot in experts_TK: routers that may choose fewer than K experts leave some.
inline constexpr std::int32_t kUnusedSlot = -1;

// The decisions of one routed layer. Row-major [T, K]; slot k of token t is at t * K + k.
struct LayerRouting {
  int layer = 0;                         // 0-based; layers without a router are left out
  int n_experts = 0;                     // E
  int k = 0;                             // K
  std::vector<std::int32_t> experts_TK;  // best first, unique within a token, or kUnusedSlot
  std::vector<float> weights_TK;         // of each expert's output in the sum; 0 for unused slots
};

struct Routing {
  std::int64_t n_tokens = 0;         // T
  std::vector<LayerRouting> layers;  // in layer order; empty for a dense model
};

// Counts of one routed layer since the model was loaded (or since reset_routing_statistics).
struct LayerStatistics {
  int layer = 0;
  int n_experts = 0;         // E
  std::int64_t tokens = 0;   // that passed the layer
  std::int64_t choices = 0;  // used slots
  std::vector<std::int64_t> tokens_per_expert_E;
  double load_entropy = 0;    // of tokens_per_expert, nats; ln E is perfect balance
  double router_entropy = 0;  // mean entropy of the router's scores, nats
  double max_violation = 0;   // MaxVio = (max - mean) / mean (Wang et al. 2024)
  int dead_experts = 0;       // experts that no token chose
};

}  // namespace conclave
