// From counts to figures; the measures and their sources are in routing_summary.h.
#include "inspect/routing_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <tuple>
#include <utility>

#include "inspect/display_text.h"
#include "inspect/expert_words.h"
#include "inspect/information.h"
#include "inspect/pair_chance.h"

namespace conclave::inspect {
namespace {

double ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }
double ratio(std::int64_t part, std::int64_t whole) {
  return ratio(static_cast<double>(part), static_cast<double>(whole));
}

std::vector<std::int64_t> column_sums(std::span<const std::int64_t> table, std::size_t columns) {
  std::vector<std::int64_t> sums(columns, 0);
  for (std::size_t i = 0; i < table.size(); ++i) sums[i % columns] += table[i];
  return sums;
}

// One token of an expert, while its tokens are ranked.
struct RankedToken {
  std::int32_t id;
  std::int64_t count;
  double lift;
  double rank;
};

// The first `n` of `tokens` by rank, then count, then id.
std::vector<TokenFigures> best_tokens(std::vector<RankedToken>& tokens, int n,
                                      std::int64_t expert_choices) {
  const std::size_t wanted = std::min(tokens.size(), static_cast<std::size_t>(std::max(0, n)));
  std::partial_sort(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(wanted),
                    tokens.end(), [](const RankedToken& x, const RankedToken& y) {
                      return std::tuple(-x.rank, -x.count, x.id) <
                             std::tuple(-y.rank, -y.count, y.id);
                    });
  std::vector<TokenFigures> best;
  for (const RankedToken& token : std::span(tokens).first(wanted)) {
    best.push_back({token.id, "", token.count, ratio(token.count, expert_choices), token.lift});
  }
  return best;
}

// The favourite and the most frequent tokens of one expert, without their texts.
void rank_tokens(ExpertFigures& expert, std::span<const TokenCounter::Entry> entries,
                 const std::vector<std::int64_t>& token_totals_V, const SummaryOptions& options) {
  // Lift has a ceiling (all of a token at this expert), which rare tokens reach by chance. The rank
  // is by lift after kPriorTokens more of the token, spread as the layer's load is.
  constexpr double kPriorTokens = 20;
  std::vector<RankedToken> frequent;
  std::vector<RankedToken> favourites;
  frequent.reserve(entries.size());
  const std::int64_t enough = std::max(options.min_token_count, expert.choices / 1000);
  for (const TokenCounter::Entry& entry : entries) {
    const auto count = static_cast<double>(entry.count);
    const auto total = static_cast<double>(token_totals_V[static_cast<std::size_t>(entry.token)]);
    const double lift = ratio(count / total, expert.load_share);
    frequent.push_back({entry.token, entry.count, lift, count});
    // The small margin keeps out a lift of 1, which is no preference, that rounding has raised.
    if (entry.count >= enough && lift > 1 + 1e-9) {
      const double discounted = (count + kPriorTokens * expert.load_share) / (total + kPriorTokens);
      favourites.push_back({entry.token, entry.count, lift, discounted});
    }
  }
  expert.frequent = best_tokens(frequent, options.frequent_tokens, expert.choices);
  expert.favourites = best_tokens(favourites, options.favourite_tokens, expert.choices);
}

// Some vocabularies have tokens of hundreds of spaces or dashes.
std::string shortened(std::string bytes) {
  constexpr std::size_t kMaxBytes = 48;
  if (bytes.size() <= kMaxBytes) return display_token(bytes);
  std::size_t end = kMaxBytes;
  while (end > kMaxBytes - 4 && (static_cast<unsigned char>(bytes[end]) & 0xc0) == 0x80) --end;
  bytes.resize(end);
  return display_token(bytes) + "...";
}

void name_tokens(std::vector<TokenFigures>& tokens, const SummaryOptions& options) {
  for (TokenFigures& figures : tokens) {
    if (options.token_text) figures.text = shortened(options.token_text(figures.id));
    if (figures.text.empty()) figures.text = fmt::format("#{}", figures.id);
  }
}

void add_tokens(LayerFigures& layer, const LayerCounts& counts, int vocab_size,
                const SummaryOptions& options) {
  const std::vector<TokenCounter::Entry> entries = counts.tokens_by_expert.sorted();
  std::vector<std::int64_t> token_totals_V(static_cast<std::size_t>(vocab_size), 0);
  for (const TokenCounter::Entry& entry : entries) {
    token_totals_V[static_cast<std::size_t>(entry.token)] += entry.count;
  }
  std::size_t begin = 0;
  for (ExpertFigures& expert : layer.experts) {
    std::size_t end = begin;
    while (end < entries.size() && entries[end].expert == expert.expert) ++end;
    rank_tokens(expert, std::span(entries).subspan(begin, end - begin), token_totals_V, options);
    name_tokens(expert.favourites, options);
    name_tokens(expert.frequent, options);
    begin = end;
  }
}

std::vector<ExpertFigures> experts_of(const LayerCounts& counts, std::size_t n_labels,
                                      std::size_t n_experts) {
  const std::vector<std::int64_t> choices_E = column_sums(counts.label_expert_CE, n_experts);
  const std::vector<std::int64_t> top1_E = column_sums(counts.label_expert_top1_CE, n_experts);
  double weights = 0;
  for (const double weight : counts.weight_E) weights += weight;
  std::vector<std::int64_t> label_totals_C(n_labels, 0);
  for (std::size_t i = 0; i < counts.label_expert_CE.size(); ++i) {
    label_totals_C[i / n_experts] += counts.label_expert_CE[i];
  }

  std::vector<ExpertFigures> experts(n_experts);
  for (std::size_t e = 0; e < n_experts; ++e) {
    ExpertFigures& expert = experts[e];
    expert.expert = static_cast<int>(e);
    expert.choices = choices_E[e];
    expert.top1 = top1_E[e];
    expert.load_share = ratio(choices_E[e], counts.choices);
    expert.weight_share = ratio(counts.weight_E[e], weights);
    for (std::size_t c = 0; c < n_labels; ++c) {
      const std::int64_t count = counts.label_expert_CE[c * n_experts + e];
      const double share = ratio(count, expert.choices);
      expert.labels.push_back({static_cast<int>(c), count, share,
                               ratio(share, ratio(label_totals_C[c], counts.choices))});
    }
  }
  return experts;
}

void add_pairs(LayerFigures& layer, std::size_t n_experts, const SummaryOptions& options) {
  if (layer.coactivation_EE.empty()) return;
  layer.expected_coactivation_EE =
      expected_pairs(layer.coactivation_EE, static_cast<int>(n_experts));
  for (std::size_t a = 0; a < n_experts; ++a) {
    for (std::size_t b = a + 1; b < n_experts; ++b) {
      const std::int64_t count = layer.coactivation_EE[a * n_experts + b];
      const double expected = layer.expected_coactivation_EE[a * n_experts + b];
      if (expected < options.min_expected_pairs) continue;
      layer.top_pairs.push_back({static_cast<int>(a), static_cast<int>(b), count, expected,
                                 ratio(static_cast<double>(count), expected)});
    }
  }
  std::stable_sort(layer.top_pairs.begin(), layer.top_pairs.end(),
                   [](const PairFigures& x, const PairFigures& y) { return x.lift > y.lift; });
  const std::size_t wanted = static_cast<std::size_t>(std::max(0, options.top_pairs));
  if (layer.top_pairs.size() > wanted) layer.top_pairs.resize(wanted);
}

void add_balance(LayerFigures& layer) {
  std::vector<std::int64_t> choices_E;
  std::int64_t routed_tokens = 0;
  for (const ExpertFigures& expert : layer.experts) {
    choices_E.push_back(expert.choices);
    routed_tokens += expert.top1;
    if (expert.choices == 0) layer.dead_experts.push_back(expert.expert);
  }
  for (const ExpertFigures& expert : layer.experts) {
    const double share = ratio(expert.top1, routed_tokens);
    layer.repeat_rate_random += share * share;
  }
  layer.load_entropy = entropy(choices_E);
  if (layer.choices == 0) return;
  const double mean = static_cast<double>(layer.choices) / static_cast<double>(choices_E.size());
  const auto most = *std::max_element(choices_E.begin(), choices_E.end());
  layer.max_vio = (static_cast<double>(most) - mean) / mean;
}

LayerFigures summarise_layer(const RoutingAnalysis& analysis, int index,
                             const SummaryOptions& options) {
  const LayerCounts& counts = analysis.layer(index);
  const std::size_t n_experts = static_cast<std::size_t>(analysis.n_experts());
  LayerFigures layer;
  layer.layer = analysis.layer_ids()[static_cast<std::size_t>(index)];
  layer.tokens = counts.tokens;
  layer.choices = counts.choices;
  layer.dropped = counts.dropped;
  layer.unused_slots = counts.unused_slots;
  layer.label_expert_CE = counts.label_expert_CE;
  layer.label_expert_top1_CE = counts.label_expert_top1_CE;
  layer.coactivation_EE = counts.coactivation_EE;
  layer.flow_EE = counts.flow_EE;

  layer.experts = experts_of(counts, analysis.labels().size(), n_experts);
  add_balance(layer);
  if (counts.router_entropy_tokens > 0) {
    layer.router_entropy =
        counts.router_entropy_sum / static_cast<double>(counts.router_entropy_tokens);
  }
  if (counts.adjacent_pairs > 0) {
    layer.repeat_rate = ratio(counts.adjacent_repeats, counts.adjacent_pairs);
  }
  if (const auto information =
          normalised_information(layer.label_expert_top1_CE, analysis.n_experts())) {
    layer.nmi = information->nmi;
    layer.nmi_random = information->nmi_random;
  }
  add_pairs(layer, n_experts, options);
  add_tokens(layer, counts, analysis.vocab_size(), options);
  return layer;
}

void add_overall(RoutingSummary& summary) {
  double nmi = 0;
  double nmi_random = 0;
  double max_vio = 0;
  int with_nmi = 0;
  for (const LayerFigures& layer : summary.layers) {
    summary.max_vio = std::max(summary.max_vio, layer.max_vio);
    max_vio += layer.max_vio;
    summary.dead_experts += static_cast<int>(layer.dead_experts.size());
    if (!layer.nmi) continue;
    ++with_nmi;
    nmi += *layer.nmi;
    nmi_random += *layer.nmi_random;
  }
  summary.max_vio_mean = ratio(max_vio, static_cast<double>(summary.layers.size()));
  if (with_nmi == 0) return;
  summary.nmi_mean = nmi / with_nmi;
  summary.nmi_random_mean = nmi_random / with_nmi;
}

}  // namespace

RoutingSummary summarise(const RoutingAnalysis& analysis, const SummaryOptions& options) {
  RoutingSummary summary;
  summary.n_experts = analysis.n_experts();
  summary.k = analysis.k();
  summary.vocab_size = analysis.vocab_size();
  for (std::size_t c = 0; c < analysis.labels().size(); ++c) {
    const std::int64_t tokens = analysis.tokens_per_label()[c];
    summary.labels.push_back({display_name(analysis.labels()[c]), tokens});
    summary.tokens += tokens;
  }
  for (int i = 0; i < analysis.n_layers(); ++i) {
    LayerFigures layer = summarise_layer(analysis, i, options);
    for (ExpertFigures& expert : layer.experts) {
      expert.words = expert_words(expert, layer.layer, summary.labels);
    }
    summary.layers.push_back(std::move(layer));
  }
  add_overall(summary);
  return summary;
}

}  // namespace conclave::inspect
