// The common part of every router's passes: checks, sizes of the decision, capacity.
#include "moe/router.h"

#include <limits>

#include "base/error.h"
#include "moe/capacity.h"
#include "moe/routers/registry.h"

namespace conclave::moe {
namespace {

// Rows and slots are counted in int32 (moe/routing.h).
void check_sizes(const RouterConfig& config, int n_tokens, int slots) {
  constexpr std::int64_t kMaxSlots = std::numeric_limits<std::int32_t>::max();
  if (n_tokens < 0 || std::int64_t{n_tokens} * slots > kMaxSlots) {
    fail(ErrorKind::kInvalidArgument,
         "router '{}': {} tokens of {} slots: at most {} slots fit one batch; use smaller batches",
         config.kind, n_tokens, slots, kMaxSlots);
  }
}

template <class Real>
void check_input(const RouterConfig& config, const RouterTraits& traits,
                 const RouterInputOf<Real>& input) {
  const bool empty = input.n_tokens == 0;
  CONCLAVE_CHECK(empty || !traits.needs_logits || input.logits_TE != nullptr, "{}", config.kind);
  CONCLAVE_CHECK(
      empty || !traits.needs_noise_logits || !input.training || input.noise_logits_TE != nullptr,
      "{}", config.kind);
  CONCLAVE_CHECK(
      !traits.needs_ids || input.ids_T.size() == static_cast<std::size_t>(input.n_tokens),
      "{}: {} ids for {} tokens", config.kind, input.ids_T.size(), input.n_tokens);
  if (!traits.supports_bias && input.expert_bias_E != nullptr) {
    fail(ErrorKind::kInvalidArgument,
         "router '{}': does not select by a bias per expert; leave the bias out, or use "
         "sigmoid_bias "
         "or softmax_topk",
         config.kind);
  }
}

}  // namespace

template <class Real>
void router_forward(ops::Context& context, const RouterConfig& config,
                    const RouterInputOf<Real>& input, RoutingDecisionOf<Real>& decision) {
  const RouterSpec& spec = find_router(config.kind);
  validate_router_config(config);
  const int slots = router_slots(config);
  check_sizes(config, input.n_tokens, slots);
  check_input(config, spec.traits, input);

  const auto n_slots = static_cast<std::size_t>(std::int64_t{input.n_tokens} * slots);
  const auto n_logits =
      spec.traits.needs_logits
          ? static_cast<std::size_t>(std::int64_t{input.n_tokens} * config.n_experts)
          : std::size_t{0};
  decision.n_tokens = input.n_tokens;
  decision.n_experts = config.n_experts;
  decision.k = slots;
  decision.topk_ids_TK.resize(n_slots);
  decision.topk_weights_TK.resize(n_slots);
  if (n_logits > 0) {
    decision.logits_TE.assign(input.logits_TE, input.logits_TE + n_logits);
  } else {
    decision.logits_TE.clear();
  }
  decision.scores_TE.resize(n_logits);
  decision.dropped_TK.clear();
  decision.noise_TE.clear();
  decision.nonfinite_token = -1;
  decision.balanced_by_construction = false;

  spec.passes<Real>().forward(context, config, input, decision);
  if (input.training && config.capacity_factor > 0) {
    apply_capacity(
        expert_capacity(input.n_tokens, config.k, config.n_experts, config.capacity_factor),
        config.capacity_order, decision);
  }
}

template <class Real>
void router_backward(ops::Context& context, const RouterConfig& config,
                     const RouterInputOf<Real>& input, const RoutingDecisionOf<Real>& decision,
                     const RouterGradientsOf<Real>& gradients) {
  const RouterSpec& spec = find_router(config.kind);
  CONCLAVE_CHECK(decision.n_tokens == input.n_tokens && decision.n_experts == config.n_experts &&
                     decision.k == router_slots(config),
                 "{}: the decision is of another call", config.kind);
  CONCLAVE_CHECK(decision.n_tokens == 0 || !spec.traits.needs_logits ||
                     (gradients.d_topk_weights_TK != nullptr && gradients.d_logits_TE != nullptr),
                 "{}", config.kind);
  spec.passes<Real>().backward(context, config, input, decision, gradients);
}

template void router_forward(ops::Context&, const RouterConfig&, const RouterInputOf<float>&,
                             RoutingDecisionOf<float>&);
template void router_forward(ops::Context&, const RouterConfig&, const RouterInputOf<double>&,
                             RoutingDecisionOf<double>&);
template void router_backward(ops::Context&, const RouterConfig&, const RouterInputOf<float>&,
                              const RoutingDecisionOf<float>&, const RouterGradientsOf<float>&);
template void router_backward(ops::Context&, const RouterConfig&, const RouterInputOf<double>&,
                              const RoutingDecisionOf<double>&, const RouterGradientsOf<double>&);

}  // namespace conclave::moe
