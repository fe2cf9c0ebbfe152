// What every router did on labelled text, counted while it is read: which experts the tokens of
// each label (domain) went to, in every MoE layer. The counts are integers (and sums in token
// order), so they do not depend on threads or on how the text is cut into chunks, except that the
// last token of a chunk has no next one. summarise() in routing_summary.h turns them into figures.
//
// What was chosen counts, dropped by a capacity limit or not: the question is what the router
// wanted. "Top-1" is the first used slot of a token, its best expert.
//
// Shape letters: T tokens of a chunk, L MoE layers, E experts, K slots per token, C labels,
// V token ids.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "inspect/token_counter.h"
#include "moe/routing.h"

namespace conclave::inspect {

// Above this many experts the E x E tables (co-activation, flow) are not kept: at 1024 experts one
// of them takes 8 MiB a layer.
inline constexpr int kMaxPairExperts = 1024;

struct LayerCounts {
  std::int64_t tokens = 0;
  std::int64_t choices = 0;       // used slots
  std::int64_t dropped = 0;       // of them, dropped by a capacity limit
  std::int64_t unused_slots = 0;  // kNoExpert

  std::vector<std::int64_t> label_expert_CE;       // choices
  std::vector<std::int64_t> label_expert_top1_CE;  // tokens by their top-1 expert
  std::vector<double> weight_E;                    // sums of the weights of slots not dropped

  // Tokens that chose both; symmetric, the diagonal counts the tokens of an expert. Empty where
  // E > kMaxPairExperts.
  std::vector<std::int64_t> coactivation_EE;
  // Row: top-1 expert in the MoE layer before; column: in this one. Empty in the first layer and
  // where E > kMaxPairExperts.
  std::vector<std::int64_t> flow_EE;

  double router_entropy_sum = 0;  // nats, over the tokens with usable scores
  std::int64_t router_entropy_tokens = 0;
  std::int64_t adjacent_pairs = 0;    // neighbouring tokens that both have a top-1 expert
  std::int64_t adjacent_repeats = 0;  // of them, those where it is the same

  TokenCounter tokens_by_expert;  // choices, by token id
};

class RoutingAnalysis {
 public:
  // `labels`: names of the classes of text, in the order of the reports. `vocab_size`: V, token ids
  // are 0..V-1. `layer_ids`: the model's numbers of its MoE layers, where they are not 0..L-1 (a
  // model whose first layers are dense). Throws Error(kInvalidArgument) for sizes out of range.
  RoutingAnalysis(int n_layers, int n_experts, int k, std::vector<std::string> labels,
                  int vocab_size, std::vector<int> layer_ids = {});

  // Counts one layer's decision on one chunk of consecutive text. For every chunk, call it once a
  // layer, in the order 0..L-1, with the same label and ids. Throws Error(kInvalidArgument) for
  // another order, a label, token id or expert id out of range, or a decision of other sizes
  // (T, E, K); nothing has been counted then. An empty chunk is fine.
  void add(int label, int layer, std::span<const std::int32_t> ids_T,
           const moe::RoutingDecision& decision);

  int n_layers() const { return static_cast<int>(layers_.size()); }
  int n_experts() const { return n_experts_; }
  int k() const { return k_; }
  int vocab_size() const { return vocab_size_; }
  const std::vector<std::string>& labels() const { return labels_; }
  const std::vector<int>& layer_ids() const { return layer_ids_; }
  // Tokens of each label, counted when its chunk's first layer was.
  const std::vector<std::int64_t>& tokens_per_label() const { return tokens_per_label_C_; }
  const LayerCounts& layer(int index) const { return layers_.at(static_cast<std::size_t>(index)); }

 private:
  void check(int label, int layer, std::span<const std::int32_t> ids_T,
             const moe::RoutingDecision& decision) const;
  void count_choices(LayerCounts& counts, std::size_t label, std::span<const std::int32_t> ids_T,
                     const moe::RoutingDecision& decision) const;
  void count_pairs(LayerCounts& counts, const moe::RoutingDecision& decision) const;
  void count_top1(LayerCounts& counts, std::size_t label, int layer,
                  const std::vector<std::int32_t>& top1_T) const;

  int n_experts_;
  int k_;
  int vocab_size_;
  std::vector<std::string> labels_;
  std::vector<int> layer_ids_;
  std::vector<std::int64_t> tokens_per_label_C_;
  std::vector<LayerCounts> layers_;

  // The chunk in progress, as the last call left it.
  int next_layer_ = 0;
  int chunk_label_ = 0;
  std::vector<std::int32_t> chunk_ids_T_;
  std::vector<std::int32_t> previous_top1_T_;
};

}  // namespace conclave::inspect
