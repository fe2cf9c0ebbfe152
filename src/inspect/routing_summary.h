// What the counts of a RoutingAnalysis mean: balance, specialisation, what each expert does and
// which experts work together. Every ratio is 0 (or absent) where nothing was counted.
//
// Measures. MaxVio = (max load - mean load) / mean load over all text read (Wang et al. 2024,
// arXiv 2408.15664). Specialisation: normalised mutual information of label and top-1 expert,
// beside what chance gives (information.h). Lift: p(x | expert) / p(x), 1 where the expert sees no
// more of x than the layer does on average. Repetition: share of neighbouring tokens with the same
// top-1 expert (Jiang et al. 2024, arXiv 2401.04088, table 5), beside the sum of squared top-1
// shares, which is what independent draws with the same load give.
//
// Shape letters: E experts, C labels.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "inspect/routing_analysis.h"

namespace conclave::inspect {

struct SummaryOptions {
  // The bytes that a token id stands for (Tokenizer::token_bytes). Unset: tokens are shown as #id.
  std::function<std::string(std::int32_t)> token_text;
  int favourite_tokens = 8;
  int frequent_tokens = 8;
  // A favourite token must have come to the expert this often, and in a thousandth of its choices:
  // below, lift is chance (one token seen once gives the greatest lift there is).
  std::int64_t min_token_count = 5;
  int top_pairs = 5;
  // Pairs of experts are ranked by lift among those that chance expects this often.
  double min_expected_pairs = 10;
};

struct TokenFigures {
  std::int32_t id = 0;
  std::string text;  // display_token() of its bytes, the first 48 of them
  std::int64_t count = 0;
  double share = 0;  // of the expert's choices
  double lift = 0;
};

struct LabelFigures {
  int label = 0;
  std::int64_t count = 0;
  double share = 0;  // of the expert's choices
  double lift = 0;   // share over the label's share of the layer's choices
};

struct ExpertFigures {
  int expert = 0;
  std::int64_t choices = 0;
  std::int64_t top1 = 0;
  double load_share = 0;                 // of the layer's choices
  double weight_share = 0;               // of the layer's weights
  std::vector<LabelFigures> labels;      // in the order of the labels, all of them
  std::vector<TokenFigures> favourites;  // by lift, discounted for rare tokens
  std::vector<TokenFigures> frequent;    // by count
  std::string words;                     // what it does, in a sentence
};

struct PairFigures {
  int a = 0;
  int b = 0;
  std::int64_t count = 0;
  double expected = 0;  // by chance, see pair_chance.h
  double lift = 0;      // count / expected
};

struct LayerFigures {
  int layer = 0;  // the model's number
  std::int64_t tokens = 0;
  std::int64_t choices = 0;
  std::int64_t dropped = 0;
  std::int64_t unused_slots = 0;
  double max_vio = 0;
  std::vector<int> dead_experts;
  double load_entropy = 0;               // nats
  std::optional<double> router_entropy;  // nats, mean over tokens; absent: the router has no scores
  std::optional<double> nmi;             // absent: fewer than two labels
  std::optional<double> nmi_random;
  std::optional<double> repeat_rate;  // absent: no neighbouring tokens
  double repeat_rate_random = 0;
  std::vector<ExpertFigures> experts;
  std::vector<PairFigures> top_pairs;              // by lift
  std::vector<std::int64_t> label_expert_CE;       // choices
  std::vector<std::int64_t> label_expert_top1_CE;  // tokens
  std::vector<std::int64_t> coactivation_EE;       // may be empty, see LayerCounts
  std::vector<double> expected_coactivation_EE;    // the same off the diagonal, by chance
  std::vector<std::int64_t> flow_EE;               // may be empty, see LayerCounts
};

struct LabelTotal {
  std::string name;  // display_name() of the label
  std::int64_t tokens = 0;
};

struct RoutingSummary {
  int n_experts = 0;
  int k = 0;
  int vocab_size = 0;
  std::int64_t tokens = 0;
  std::vector<LabelTotal> labels;
  double max_vio = 0;              // the worst layer's
  double max_vio_mean = 0;         // over layers
  int dead_experts = 0;            // in all layers
  std::optional<double> nmi_mean;  // over the layers that have one
  std::optional<double> nmi_random_mean;
  std::vector<LayerFigures> layers;
};

RoutingSummary summarise(const RoutingAnalysis& analysis, const SummaryOptions& options = {});

}  // namespace conclave::inspect
