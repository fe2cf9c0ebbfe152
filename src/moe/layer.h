// One MoE layer: router -> decision -> plan -> permute -> experts -> combine (+ shared experts).
//   y_t += sum_k weight_tk * expert_{id_tk}(x_t) + shared(x_t)
// A dense FFN is the same layer with one expert and no router.
// Shape letters: T tokens, D width, F expert width, E experts, K experts per token, N routed rows.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "moe/losses.h"
#include "moe/router.h"
#include "moe/routing.h"
#include "moe/store.h"
#include "ops/linear.h"
#include "tensor/float_matrix.h"

namespace conclave::moe {

// The gated unit of an expert, from gate and up projections g and u.
enum class Activation : std::uint8_t {
  kSwiGlu,         // silu(g) u (Shazeer 2020)
  kClampedSwiGlu,  // (min(max(u, -c), c) + 1) h sigmoid(1.702 h), h = min(g, c): gpt-oss
};

struct LayerConfig {
  RouterConfig router;       // E and K; for a dense layer only n_experts = 1 counts
  int d_expert = 0;          // F, width of one routed expert
  int d_shared = 0;          // width of the shared expert that every token passes, 0: none
  bool expert_bias = false;  // the router selects by score + a bias per expert
  bool router_bias = false;  // the router's logits have a bias
  bool linear_bias = false;  // the experts' linear maps (shared ones too) have biases
  bool shared_gate = false;  // the shared expert's output is multiplied by sigmoid(<w, x>)
  // The weight multiplies the expert's input instead of its output (Llama 4).
  bool weight_inputs = false;
  Activation activation = Activation::kSwiGlu;
  float activation_limit = 7;  // c of kClampedSwiGlu

  int n_experts() const { return router.n_experts; }
  bool dense() const { return router.n_experts == 1; }
};

// What multiplies each auxiliary loss (0: off). See moe/losses.h for the formulas.
struct LossCoefficients {
  double load_balance = 0;
  double z_loss = 0;
  double importance = 0;
  double load = 0;  // noisy top-k only
};

// Their values in one layer, unweighted.
struct AuxiliaryLosses {
  double load_balance = 0;
  double z_loss = 0;
  double importance = 0;
  double load = 0;

  double weighted(const LossCoefficients& c) const {
    return c.load_balance * load_balance + c.z_loss * z_loss + c.importance * importance +
           c.load * load;
  }
};

// What routing needs besides x: the same for all layers of one forward pass.
struct RoutingContext {
  std::span<const std::int32_t> ids_T;  // token ids, for hash routing
  Rng rng{0};                           // noise of the router in training
  bool training = false;
  LossCoefficients losses;  // already divided by the layers and micro-batches that share the loss
};

// Borrowed weights of one layer, except the routed experts, which the store has.
struct LayerWeights {
  ops::Linear router;                    // [E, D], always f32
  ops::Linear router_noise;              // [E, D], noisy top-k only
  float* router_bias_E = nullptr;        // added to the logits, or null
  const float* expert_bias_E = nullptr;  // selection bias, or null
  ops::Linear shared_gate;               // [1, D], f32; on the shared expert's output
  ops::Linear shared_gate_up;            // [2Fs, D]
  ops::Linear shared_down;               // [D, Fs]
  float* shared_gate_up_bias = nullptr;  // [2Fs], or null
  float* shared_down_bias = nullptr;     // [D], or null
};

// What the forward pass leaves: for the backward pass, for statistics (the decision), and for the
// training log (the losses).
struct LayerSaved {
  RoutingDecision decision;
  DispatchPlan plan;
  AuxiliaryLosses losses;
  FloatMatrix x_router;              // [T, D], jittered copy
  FloatMatrix logits, noise_logits;  // [T, E]
  FloatMatrix x_routed;              // [N, D]
  FloatMatrix gate_up;               // [N, 2F]
  FloatMatrix hidden;                // [N, F]
  FloatMatrix y_routed;              // [N, D]
  FloatMatrix shared_gate_up, shared_hidden;
  FloatMatrix shared_out, shared_share;  // [T, D], [T, 1]; with a gate on the shared expert
  RoutingDecision unit;                  // the decision with weights 1, where inputs are weighted
};

// Work space of the backward pass.
struct LayerGradients {
  FloatMatrix d_y_routed, d_hidden, d_gate_up, d_x_routed;
  FloatMatrix d_x_router, d_logits, d_noise_logits, d_shared_hidden, d_shared_gate_up;
  std::vector<float> d_weights_TK, d_scores_TE;
};

// y[T, D] += layer(x[T, D]). Throws Error(kNumeric) naming the layer where a router logit is not
// finite, and what the store throws.
void layer_forward(ops::Context& context, const LayerConfig& config, const LayerWeights& weights,
                   ExpertStore& store, int layer, const RoutingContext& routing,
                   MatrixView<const float> x, MatrixView<float> y, LayerSaved& saved);

// dx[T, D] is assigned; weights' gradients (also those of the experts in the store) accumulate;
// the auxiliary losses' gradients are included.
void layer_backward(ops::Context& context, const LayerConfig& config, const LayerWeights& weights,
                    ExpertStore& store, int layer, const RoutingContext& routing,
                    MatrixView<const float> x, MatrixView<const float> dy, MatrixView<float> dx,
                    LayerSaved& saved, LayerGradients& scratch);

}  // namespace conclave::moe
