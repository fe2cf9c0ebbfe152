// Counting routing decisions; the meaning of each count is in routing_analysis.h.
#include "inspect/routing_analysis.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include "base/error.h"

namespace conclave::inspect {
namespace {

using moe::kNoExpert;

void check_range(const char* what, std::int64_t found, std::int64_t min, std::int64_t max) {
  if (found < min || found > max) {
    fail(ErrorKind::kInvalidArgument, "routing analysis: {}: found {}, expected {}..{}", what,
         found, min, max);
  }
}

// Entropy of one token's scores, whatever they sum to; negative where they are no distribution.
double score_entropy(std::span<const float> scores_E) {
  double sum = 0;
  double weighted = 0;  // sum of s ln s
  for (const float score : scores_E) {
    const double s = score;
    if (!(s >= 0) || std::isinf(s)) return -1;
    sum += s;
    if (s > 0) weighted += s * std::log(s);
  }
  return sum > 0 ? std::max(0.0, std::log(sum) - weighted / sum) : -1;
}

std::vector<std::int32_t> top1_of(const moe::RoutingDecision& decision) {
  std::vector<std::int32_t> top1_T(static_cast<std::size_t>(decision.n_tokens), kNoExpert);
  const std::size_t k = static_cast<std::size_t>(decision.k);
  for (std::size_t t = 0; t < top1_T.size(); ++t) {
    const auto slots = std::span(decision.topk_ids_TK).subspan(t * k, k);
    const auto used = std::find_if(slots.begin(), slots.end(),
                                   [](std::int32_t expert) { return expert != kNoExpert; });
    if (used != slots.end()) top1_T[t] = *used;
  }
  return top1_T;
}

}  // namespace

RoutingAnalysis::RoutingAnalysis(int n_layers, int n_experts, int k,
                                 std::vector<std::string> labels, int vocab_size,
                                 std::vector<int> layer_ids)
    : n_experts_(n_experts),
      k_(k),
      vocab_size_(vocab_size),
      labels_(std::move(labels)),
      layer_ids_(std::move(layer_ids)) {
  check_range("layers", n_layers, 1, 1 << 16);
  check_range("experts", n_experts, 1, 1 << 20);
  check_range("slots per token", k, 1, n_experts);
  check_range("vocabulary size", vocab_size, 1, std::numeric_limits<std::int32_t>::max());
  check_range("labels", static_cast<std::int64_t>(labels_.size()), 1, 1 << 16);
  if (layer_ids_.empty()) {
    for (int i = 0; i < n_layers; ++i) layer_ids_.push_back(i);
  }
  check_range("layer ids", static_cast<std::int64_t>(layer_ids_.size()), n_layers, n_layers);

  tokens_per_label_C_.assign(labels_.size(), 0);
  layers_.resize(static_cast<std::size_t>(n_layers));
  const std::size_t experts = static_cast<std::size_t>(n_experts);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    LayerCounts& counts = layers_[i];
    counts.label_expert_CE.assign(labels_.size() * experts, 0);
    counts.label_expert_top1_CE.assign(labels_.size() * experts, 0);
    counts.weight_E.assign(experts, 0);
    if (n_experts > kMaxPairExperts) continue;
    counts.coactivation_EE.assign(experts * experts, 0);
    if (i > 0) counts.flow_EE.assign(experts * experts, 0);
  }
}

void RoutingAnalysis::check(int label, int layer, std::span<const std::int32_t> ids_T,
                            const moe::RoutingDecision& decision) const {
  const std::int64_t tokens = static_cast<std::int64_t>(ids_T.size());
  check_range("label", label, 0, static_cast<std::int64_t>(labels_.size()) - 1);
  check_range("layer (each chunk visits all layers in order)", layer, next_layer_, next_layer_);
  check_range("tokens of the decision", decision.n_tokens, tokens, tokens);
  check_range("experts of the decision", decision.n_experts, n_experts_, n_experts_);
  check_range("slots of the decision", decision.k, k_, k_);
  if (layer > 0) {
    check_range("label of the chunk in progress", label, chunk_label_, chunk_label_);
    if (!std::equal(ids_T.begin(), ids_T.end(), chunk_ids_T_.begin(), chunk_ids_T_.end())) {
      fail(ErrorKind::kInvalidArgument,
           "routing analysis: layer {} was given other token ids than layer 0 of the same chunk",
           layer);
    }
  }
  for (const std::int32_t id : ids_T) check_range("token id", id, 0, vocab_size_ - 1);

  const auto check_size = [&](const char* what, std::size_t found, std::size_t row, bool optional) {
    if (optional && found == 0) return;
    const auto expected = static_cast<std::int64_t>(ids_T.size() * row);
    check_range(what, static_cast<std::int64_t>(found), expected, expected);
  };
  const std::size_t k = static_cast<std::size_t>(k_);
  check_size("topk_ids_TK", decision.topk_ids_TK.size(), k, false);
  check_size("topk_weights_TK", decision.topk_weights_TK.size(), k, false);
  check_size("scores_TE", decision.scores_TE.size(), static_cast<std::size_t>(n_experts_), true);
  check_size("dropped_TK", decision.dropped_TK.size(), k, true);
  for (const std::int32_t expert : decision.topk_ids_TK) {
    check_range("expert id", expert, kNoExpert, n_experts_ - 1);
  }
}

void RoutingAnalysis::count_choices(LayerCounts& counts, std::size_t label,
                                    std::span<const std::int32_t> ids_T,
                                    const moe::RoutingDecision& decision) const {
  const std::size_t experts = static_cast<std::size_t>(n_experts_);
  const std::size_t k = static_cast<std::size_t>(k_);
  for (std::size_t slot = 0; slot < decision.topk_ids_TK.size(); ++slot) {
    const std::int32_t expert = decision.topk_ids_TK[slot];
    if (expert == kNoExpert) {
      ++counts.unused_slots;
      continue;
    }
    const std::size_t e = static_cast<std::size_t>(expert);
    ++counts.choices;
    ++counts.label_expert_CE[label * experts + e];
    counts.tokens_by_expert.add(expert, ids_T[slot / k]);
    if (decision.is_dropped(static_cast<std::int64_t>(slot))) {
      ++counts.dropped;
    } else if (std::isfinite(decision.topk_weights_TK[slot])) {
      counts.weight_E[e] += decision.topk_weights_TK[slot];
    }
  }
  if (decision.scores_TE.empty()) return;
  for (std::size_t t = 0; t < ids_T.size(); ++t) {
    const double nats = score_entropy(std::span(decision.scores_TE).subspan(t * experts, experts));
    if (nats < 0) continue;
    counts.router_entropy_sum += nats;
    ++counts.router_entropy_tokens;
  }
}

void RoutingAnalysis::count_pairs(LayerCounts& counts, const moe::RoutingDecision& decision) const {
  if (counts.coactivation_EE.empty()) return;
  const std::size_t experts = static_cast<std::size_t>(n_experts_);
  const std::size_t k = static_cast<std::size_t>(k_);
  for (std::size_t first = 0; first < decision.topk_ids_TK.size(); first += k) {
    for (std::size_t i = first; i < first + k; ++i) {
      const std::int32_t a = decision.topk_ids_TK[i];
      if (a == kNoExpert) continue;
      ++counts.coactivation_EE[static_cast<std::size_t>(a) * (experts + 1)];
      for (std::size_t j = i + 1; j < first + k; ++j) {
        const std::int32_t b = decision.topk_ids_TK[j];
        if (b == kNoExpert || b == a) continue;
        ++counts
              .coactivation_EE[static_cast<std::size_t>(a) * experts + static_cast<std::size_t>(b)];
        ++counts
              .coactivation_EE[static_cast<std::size_t>(b) * experts + static_cast<std::size_t>(a)];
      }
    }
  }
}

void RoutingAnalysis::count_top1(LayerCounts& counts, std::size_t label, int layer,
                                 const std::vector<std::int32_t>& top1_T) const {
  const std::size_t experts = static_cast<std::size_t>(n_experts_);
  for (std::size_t t = 0; t < top1_T.size(); ++t) {
    if (top1_T[t] == kNoExpert) continue;
    const std::size_t e = static_cast<std::size_t>(top1_T[t]);
    ++counts.label_expert_top1_CE[label * experts + e];
    if (t > 0 && top1_T[t - 1] != kNoExpert) {
      ++counts.adjacent_pairs;
      if (top1_T[t - 1] == top1_T[t]) ++counts.adjacent_repeats;
    }
    if (layer > 0 && !counts.flow_EE.empty() && previous_top1_T_[t] != kNoExpert) {
      ++counts.flow_EE[static_cast<std::size_t>(previous_top1_T_[t]) * experts + e];
    }
  }
}

void RoutingAnalysis::add(int label, int layer, std::span<const std::int32_t> ids_T,
                          const moe::RoutingDecision& decision) {
  check(label, layer, ids_T, decision);
  const std::size_t c = static_cast<std::size_t>(label);
  LayerCounts& counts = layers_[static_cast<std::size_t>(layer)];
  if (layer == 0) {
    tokens_per_label_C_[c] += static_cast<std::int64_t>(ids_T.size());
    chunk_label_ = label;
    chunk_ids_T_.assign(ids_T.begin(), ids_T.end());
  }
  counts.tokens += static_cast<std::int64_t>(ids_T.size());
  count_choices(counts, c, ids_T, decision);
  count_pairs(counts, decision);
  std::vector<std::int32_t> top1_T = top1_of(decision);
  count_top1(counts, c, layer, top1_T);
  previous_top1_T_ = std::move(top1_T);
  next_layer_ = (layer + 1) % n_layers();
}

}  // namespace conclave::inspect
