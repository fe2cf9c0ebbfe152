#include "moe/layer.h"

#include <algorithm>

#include "moe/jitter.h"
#include "moe/permute.h"
#include "moe/plan.h"
#include "ops/pointwise.h"
#include "ops/rowwise.h"

namespace conclave::moe {
namespace {

using ops::ModelPart;
using PartScope = ops::PartClock::Scope;

// A dense layer is one expert that takes every token as it is.
void single_expert_decision(int n_tokens, RoutingDecision& decision) {
  const auto T = static_cast<std::size_t>(n_tokens);
  decision.n_tokens = n_tokens;
  decision.n_experts = 1;
  decision.k = 1;
  decision.topk_ids_TK.assign(T, 0);
  decision.topk_weights_TK.assign(T, 1.0f);
}

RouterInput router_input(const RoutingContext& routing, int layer, int n_tokens,
                         const LayerWeights& weights, const LayerSaved& saved) {
  RouterInput input;
  input.n_tokens = n_tokens;
  input.logits_TE = saved.logits.data();
  input.noise_logits_TE = routing.training ? saved.noise_logits.data() : nullptr;
  input.expert_bias_E = weights.expert_bias_E;
  input.ids_T = routing.ids_T;
  input.training = routing.training;
  input.rng = routing.rng.fork(static_cast<std::uint64_t>(layer));
  return input;
}

void refuse_nonfinite(const RoutingDecision& decision, int layer) {
  if (decision.finite()) return;
  fail(ErrorKind::kNumeric,
       "layer {}: the router's logits of token {} are not finite (a diverged or damaged model)",
       layer, decision.nonfinite_token);
}

bool jittered(const LayerConfig& config, const RoutingContext& routing) {
  return routing.training && config.router.jitter > 0;
}
Rng jitter_rng(const RoutingContext& routing, int layer) {
  return routing.rng.fork(static_cast<std::uint64_t>(layer)).fork(1);
}

// What the router sees of x: x itself, or a jittered copy in training. The experts see x.
MatrixView<const float> router_view(ops::Context& context, const LayerConfig& config,
                                    const RoutingContext& routing, int layer,
                                    MatrixView<const float> x, LayerSaved& saved) {
  if (!jittered(config, routing)) return x;
  const MatrixView<float> copy = saved.x_router.resize(x.rows, x.cols);
  for (std::int64_t t = 0; t < x.rows; ++t) std::copy_n(x.row(t), x.cols, copy.row(t));
  apply_jitter(context, config.router.jitter, jitter_rng(routing, layer), 0, copy);
  return copy;
}

// logits -> decision -> plan.
void route(ops::Context& context, const LayerConfig& config, const LayerWeights& weights, int layer,
           const RoutingContext& routing, MatrixView<const float> x, LayerSaved& saved) {
  const PartScope part(context.parts, ModelPart::kRouter);
  const int T = static_cast<int>(x.rows);
  if (config.dense()) {
    single_expert_decision(T, saved.decision);
  } else {
    const RouterTraits& traits = router_traits(config.router.kind);
    x = router_view(context, config, routing, layer, x, saved);
    if (traits.needs_logits) {
      const MatrixView<float> logits = saved.logits.resize(T, config.n_experts());
      ops::linear_forward(context, weights.router, x, logits);
      if (weights.router_bias_E != nullptr) ops::add_bias(context, weights.router_bias_E, logits);
    }
    if (traits.needs_noise_logits && routing.training) {
      ops::linear_forward(context, weights.router_noise, x,
                          saved.noise_logits.resize(T, config.n_experts()));
    }
    const RouterInput input = router_input(routing, layer, T, weights, saved);
    router_forward(context, config.router, input, saved.decision);
    refuse_nonfinite(saved.decision, layer);
  }
  saved.plan = make_plan(saved.decision);
}

void gated_unit(ops::Context& context, const LayerConfig& config, MatrixView<const float> gate_up,
                MatrixView<float> h) {
  if (config.activation == Activation::kSwiGlu) return ops::swiglu_forward(context, gate_up, h);
  ops::clamped_swiglu(context, gate_up, config.activation_limit, h);
}

// Adds each expert's bias to its rows.
void add_expert_biases(ops::Context& context, const ExpertLease& experts, const DispatchPlan& plan,
                       float* ExpertWeights::*bias, MatrixView<float> rows) {
  for (std::size_t e = 0; e < experts.size(); ++e) {
    const std::int64_t begin = plan.expert_offsets_E1[e], end = plan.expert_offsets_E1[e + 1];
    if (begin < end) ops::add_bias(context, experts[e]->*bias, rows.rows_range(begin, end - begin));
  }
}

// Multiplies the experts' inputs by their weights, and leaves the decision that combines the
// outputs unweighted.
void weight_inputs(ops::Context& context, LayerSaved& saved) {
  const RoutingDecision& decision = saved.decision;
  std::vector<float> weight_N;
  for (const std::int32_t slot : saved.plan.row_slot_N) {
    weight_N.push_back(decision.topk_weights_TK[static_cast<std::size_t>(slot)]);
  }
  ops::scale_rows(context, weight_N.data(), saved.x_routed.view());
  saved.unit.n_tokens = decision.n_tokens;
  saved.unit.n_experts = decision.n_experts;
  saved.unit.k = decision.k;
  saved.unit.topk_ids_TK = decision.topk_ids_TK;
  saved.unit.topk_weights_TK.assign(decision.topk_weights_TK.size(), 1.0f);
  saved.unit.dropped_TK = decision.dropped_TK;
}

// What the gated unit does with a part of a product, on one thread; `bias` [2F] may be null.
void gated_part(const LayerConfig& config, const float* bias, std::int64_t width,
                std::int64_t column, MatrixView<float> gate_up, MatrixView<float> h) {
  if (bias != nullptr) {
    for (std::int64_t t = 0; t < h.rows; ++t) {
      float* gate = gate_up.row(t);
      float* up = gate + h.cols;
      for (std::int64_t i = 0; i < h.cols; ++i) {
        gate[i] += bias[column + i];
        up[i] += bias[width + column + i];
      }
    }
  }
  if (config.activation == Activation::kSwiGlu) return ops::swiglu_rows(gate_up, h);
  ops::clamped_swiglu_rows(gate_up, config.activation_limit, h);
}

// x -> hidden, in the order of experts. In one go where the weights allow it (which training's
// never do); else by way of x_routed and gate_up, which the backward pass wants to see.
void experts_up(ops::Context& context, const LayerConfig& config, const ExpertLease& experts,
                MatrixView<const float> x, LayerSaved& saved) {
  const DispatchPlan& plan = saved.plan;
  const std::int64_t N = plan.n_rows(), F = config.d_expert;
  std::vector<const ops::PackedMatrix*> gate_up(experts.size());
  for (std::size_t e = 0; e < experts.size(); ++e) {
    if (experts[e] != nullptr) gate_up[e] = &experts[e]->gate_up.forward;
  }
  const MatrixView<float> h = saved.hidden.resize(N, F);
  const bool fused = ops::can_multiply_gated(gate_up);
  if (!fused || config.weight_inputs) {
    const PartScope part(context.parts, ModelPart::kPermute);
    permute_forward<float>(context, x, plan, saved.x_routed.resize(N, x.cols));
    if (config.weight_inputs) weight_inputs(context, saved);
  }
  if (fused) {
    const auto unit = [&](std::size_t e, std::int64_t column, MatrixView<float> part,
                          MatrixView<float> out) {
      gated_part(config, config.linear_bias ? experts[e]->gate_up_bias : nullptr, F, column, part,
                 out);
    };
    const bool gathered = config.weight_inputs;
    ops::grouped_matmul_gated(
        context, gathered ? saved.x_routed.view() : x,
        gathered ? std::span<const std::int32_t>() : std::span(plan.row_token_N),
        plan.expert_offsets_E1, gate_up, unit, h);
    return;
  }
  const MatrixView<float> h2 = saved.gate_up.resize(N, 2 * F);
  ops::grouped_matmul(context, saved.x_routed.view(), plan.expert_offsets_E1, gate_up, h2);
  if (config.linear_bias) {
    add_expert_biases(context, experts, plan, &ExpertWeights::gate_up_bias, h2);
  }
  gated_unit(context, config, h2, h);
}

// x -> y_routed, a row for each token and expert of the plan.
void experts_forward(ops::Context& context, const LayerConfig& config, ExpertStore& store,
                     int layer, MatrixView<const float> x, LayerSaved& saved) {
  const PartScope part(context.parts, config.dense() ? ModelPart::kDense : ModelPart::kExperts);
  const ExpertLease experts = store.acquire(layer, saved.plan.tokens_per_expert_E);
  experts_up(context, config, experts, x, saved);
  std::vector<const ops::PackedMatrix*> down(experts.size());
  for (std::size_t e = 0; e < experts.size(); ++e) {
    if (experts[e] != nullptr) down[e] = &experts[e]->down.forward;
  }
  const MatrixView<float> y = saved.y_routed.resize(saved.plan.n_rows(), x.cols);
  ops::grouped_matmul(context, saved.hidden.view(), saved.plan.expert_offsets_E1, down, y);
  if (config.linear_bias) {
    add_expert_biases(context, experts, saved.plan, &ExpertWeights::down_bias, y);
  }
}

void experts_backward(ops::Context& context, const LayerConfig& config, ExpertStore& store,
                      int layer, const LayerSaved& saved, LayerGradients& scratch) {
  const std::int64_t N = saved.plan.n_rows();
  const auto E = static_cast<std::size_t>(config.n_experts());
  std::vector<const ops::PackedMatrix*> gate_up(E), down(E);
  std::vector<MatrixView<float>> d_gate_up_w(E), d_down_w(E);
  for (std::size_t e = 0; e < E; ++e) {
    const ExpertWeights& expert = store.at(layer, static_cast<int>(e));
    gate_up[e] = &expert.gate_up.backward;
    down[e] = &expert.down.backward;
    d_gate_up_w[e] = expert.gate_up.dw;
    d_down_w[e] = expert.down.dw;
  }
  const auto& offsets = saved.plan.expert_offsets_E1;
  const DType compute = store.at(layer, 0).gate_up.compute;
  const MatrixView<float> dy = scratch.d_y_routed.view();
  const MatrixView<float> dh = scratch.d_hidden.resize(N, config.d_expert);
  ops::grouped_matmul(context, dy, offsets, down, dh);
  ops::grouped_matmul_grad_weight(context, dy, saved.hidden.view(), offsets, compute, d_down_w);
  const MatrixView<float> d2 = scratch.d_gate_up.resize(N, saved.gate_up.view().cols);
  ops::swiglu_backward(context, saved.gate_up.view(), dh, d2);
  ops::grouped_matmul(context, d2, offsets, gate_up, scratch.d_x_routed.resize(N, dy.cols));
  ops::grouped_matmul_grad_weight(context, d2, saved.x_routed.view(), offsets, compute,
                                  d_gate_up_w);
}

AuxiliaryLosses auxiliary_losses(ops::Context& context, const LayerConfig& config,
                                 const RoutingContext& routing, const RouterInput& input,
                                 const RoutingDecision& decision) {
  AuxiliaryLosses losses;
  losses.load_balance = load_balance_loss<float>(decision, {}, nullptr);
  losses.z_loss = z_loss<float>(context, decision, 1.0, nullptr);
  losses.importance = importance_loss<float>(decision, 1.0, nullptr);
  if (routing.losses.load != 0) {
    losses.load =
        noisy_load_loss<float>(context, config.router, input, decision, 1.0, nullptr, nullptr);
  }
  return losses;
}

// Gradients of the combine's weights and of the losses, through the router, to dx (+=).
void router_part_backward(ops::Context& context, const LayerConfig& config,
                          const LayerWeights& weights, int layer, const RoutingContext& routing,
                          MatrixView<const float> x, MatrixView<float> dx, const LayerSaved& saved,
                          LayerGradients& scratch) {
  const RouterTraits& traits = router_traits(config.router.kind);
  if (!traits.needs_logits) return;
  const LossCoefficients& c = routing.losses;
  const RoutingDecision& decision = saved.decision;
  const RouterInput input = router_input(routing, layer, decision.n_tokens, weights, saved);
  const std::int64_t T = decision.n_tokens, E = decision.n_experts;

  if (c.importance != 0) importance_loss(decision, c.importance, scratch.d_weights_TK.data());
  scratch.d_scores_TE.assign(static_cast<std::size_t>(T * E), 0.0f);
  if (c.load_balance != 0) {
    LoadBalanceOptions options;
    options.coefficient = c.load_balance;
    load_balance_loss(decision, options, scratch.d_scores_TE.data());
  }
  RouterGradients gradients;
  gradients.d_topk_weights_TK = scratch.d_weights_TK.data();
  gradients.d_scores_TE = scratch.d_scores_TE.data();
  const MatrixView<float> d_logits = scratch.d_logits.resize(T, E);
  gradients.d_logits_TE = d_logits.data;
  const bool noisy = input.noise_logits_TE != nullptr;
  const MatrixView<float> d_noise =
      noisy ? scratch.d_noise_logits.resize(T, E) : MatrixView<float>{};
  gradients.d_noise_logits_TE = d_noise.data;
  router_backward(context, config.router, input, decision, gradients);
  if (c.z_loss != 0) z_loss(context, decision, c.z_loss, d_logits.data);
  if (c.load != 0) {
    noisy_load_loss(context, config.router, input, decision, c.load, d_logits.data, d_noise.data);
  }
  const bool jitter = jittered(config, routing);
  const MatrixView<const float> seen = jitter ? saved.x_router.view() : x;
  const MatrixView<float> d_seen = jitter ? scratch.d_x_router.resize(x.rows, x.cols) : dx;
  ops::linear_backward(context, weights.router, seen, d_logits, d_seen, /*accumulate=*/!jitter);
  if (noisy) ops::linear_backward(context, weights.router_noise, seen, d_noise, d_seen, true);
  if (jitter) {
    apply_jitter(context, config.router.jitter, jitter_rng(routing, layer), 0, d_seen);
    ops::add_inplace(context, d_seen, dx);
  }
}

void shared_up(ops::Context& context, const LayerConfig& config, const LayerWeights& weights,
               MatrixView<const float> x, MatrixView<float> h, LayerSaved& saved) {
  const ops::PackedMatrix* const matrix[] = {&weights.shared_gate_up.forward};
  const float* bias = config.linear_bias ? weights.shared_gate_up_bias : nullptr;
  if (ops::can_multiply_gated(matrix)) {
    const std::int32_t offsets[] = {0, static_cast<std::int32_t>(x.rows)};
    const auto unit = [&](std::size_t, std::int64_t column, MatrixView<float> part,
                          MatrixView<float> out) {
      gated_part(config, bias, config.d_shared, column, part, out);
    };
    ops::grouped_matmul_gated(context, x, {}, offsets, matrix, unit, h);
    return;
  }
  const MatrixView<float> h2 =
      saved.shared_gate_up.resize(x.rows, weights.shared_gate_up.out_features());
  ops::linear_forward(context, weights.shared_gate_up, x, h2);
  if (bias != nullptr) ops::add_bias(context, bias, h2);
  gated_unit(context, config, h2, h);
}

void shared_forward(ops::Context& context, const LayerConfig& config, const LayerWeights& weights,
                    MatrixView<const float> x, MatrixView<float> y, LayerSaved& saved) {
  const PartScope part(context.parts, ModelPart::kDense);
  const MatrixView<float> h = saved.shared_hidden.resize(x.rows, config.d_shared);
  shared_up(context, config, weights, x, h, saved);
  if (!config.shared_gate) {
    ops::linear_forward(context, weights.shared_down, h, y, /*accumulate=*/true);
    if (config.linear_bias) ops::add_bias(context, weights.shared_down_bias, y);
    return;
  }
  const MatrixView<float> out = saved.shared_out.resize(x.rows, x.cols);
  ops::linear_forward(context, weights.shared_down, h, out);
  if (config.linear_bias) ops::add_bias(context, weights.shared_down_bias, out);
  const MatrixView<float> share = saved.shared_share.resize(x.rows, 1);
  ops::linear_forward(context, weights.shared_gate, x, share);
  ops::sigmoid_inplace({share.data, static_cast<std::size_t>(x.rows)});
  ops::add_scaled_rows(context, share.data, out, y);
}

void shared_backward(ops::Context& context, const LayerWeights& weights, MatrixView<const float> x,
                     MatrixView<const float> dy, MatrixView<float> dx, const LayerSaved& saved,
                     LayerGradients& scratch) {
  const MatrixView<float> h = saved.shared_hidden.view();
  const MatrixView<float> dh = scratch.d_shared_hidden.resize(h.rows, h.cols);
  ops::linear_backward(context, weights.shared_down, h, dy, dh);
  const MatrixView<float> h2 = saved.shared_gate_up.view();
  const MatrixView<float> d2 = scratch.d_shared_gate_up.resize(h2.rows, h2.cols);
  ops::swiglu_backward(context, h2, dh, d2);
  ops::linear_backward(context, weights.shared_gate_up, x, d2, dx, /*accumulate=*/true);
}

}  // namespace

void layer_forward(ops::Context& context, const LayerConfig& config, const LayerWeights& weights,
                   ExpertStore& store, int layer, const RoutingContext& routing,
                   MatrixView<const float> x, MatrixView<float> y, LayerSaved& saved) {
  const PartScope part(context.parts, ModelPart::kPermute);
  route(context, config, weights, layer, routing, x, saved);
  experts_forward(context, config, store, layer, x, saved);
  unpermute_forward<float>(context, saved.y_routed.view(), saved.plan,
                           config.weight_inputs ? saved.unit : saved.decision, y, Write::kAdd);
  if (config.d_shared > 0) shared_forward(context, config, weights, x, y, saved);
  saved.losses = {};
  if (routing.training && !config.dense()) {
    const RouterInput input = router_input(routing, layer, saved.decision.n_tokens, weights, saved);
    saved.losses = auxiliary_losses(context, config, routing, input, saved.decision);
  }
}

void layer_backward(ops::Context& context, const LayerConfig& config, const LayerWeights& weights,
                    ExpertStore& store, int layer, const RoutingContext& routing,
                    MatrixView<const float> x, MatrixView<const float> dy, MatrixView<float> dx,
                    LayerSaved& saved, LayerGradients& scratch) {
  scratch.d_weights_TK.resize(saved.decision.topk_ids_TK.size());
  unpermute_backward<float>(context, dy, saved.y_routed.view(), saved.plan, saved.decision,
                            scratch.d_y_routed.resize(saved.plan.n_rows(), dy.cols),
                            scratch.d_weights_TK.data());
  experts_backward(context, config, store, layer, saved, scratch);
  permute_backward<float>(context, scratch.d_x_routed.view(), saved.plan, dx, Write::kAssign);
  if (!config.dense()) {
    router_part_backward(context, config, weights, layer, routing, x, dx, saved, scratch);
  }
  if (config.d_shared > 0) shared_backward(context, weights, x, dy, dx, saved, scratch);
}

}  // namespace conclave::moe
