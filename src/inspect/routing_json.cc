// The writer of routing.json; the schema is in routing_json.h.
#include "inspect/routing_json.h"

#include <cmath>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

namespace conclave::inspect {
namespace {

using nlohmann::json;

json optional_json(const std::optional<double>& value) {
  return value ? json(*value) : json(nullptr);
}

template <class Number>
json table_json(const std::vector<Number>& table, int n_columns) {
  json rows = json::array();
  const std::size_t columns = static_cast<std::size_t>(n_columns);
  for (std::size_t first = 0; first < table.size(); first += columns) {
    json row = json::array();
    for (std::size_t i = first; i < first + columns; ++i) row.push_back(table[i]);
    rows.push_back(std::move(row));
  }
  return rows;
}

// Rounded to a tenth: expected counts need no 17 digits, and there are E * E of them.
std::vector<double> rounded(const std::vector<double>& values) {
  std::vector<double> result;
  for (const double value : values) result.push_back(std::round(value * 10) / 10);
  return result;
}

json tokens_json(const std::vector<TokenFigures>& tokens) {
  json list = json::array();
  for (const TokenFigures& token : tokens) {
    list.push_back({{"id", token.id},
                    {"text", token.text},
                    {"count", token.count},
                    {"share", token.share},
                    {"lift", token.lift}});
  }
  return list;
}

json expert_json(const ExpertFigures& expert) {
  json labels = json::array();
  for (const LabelFigures& label : expert.labels) {
    labels.push_back({{"label", label.label},
                      {"count", label.count},
                      {"share", label.share},
                      {"lift", label.lift}});
  }
  return {{"expert", expert.expert},
          {"choices", expert.choices},
          {"top1", expert.top1},
          {"load_share", expert.load_share},
          {"weight_share", expert.weight_share},
          {"words", expert.words},
          {"labels", std::move(labels)},
          {"favourites", tokens_json(expert.favourites)},
          {"frequent", tokens_json(expert.frequent)}};
}

json pairs_json(const std::vector<PairFigures>& pairs) {
  json list = json::array();
  for (const PairFigures& pair : pairs) {
    list.push_back({{"a", pair.a},
                    {"b", pair.b},
                    {"count", pair.count},
                    {"expected", pair.expected},
                    {"lift", pair.lift}});
  }
  return list;
}

json layer_json(const LayerFigures& layer, int n_experts, bool with_pairs) {
  const auto pair_table = [&](const auto& table) {
    return with_pairs && !table.empty() ? table_json(table, n_experts) : json(nullptr);
  };
  json experts = json::array();
  for (const ExpertFigures& expert : layer.experts) experts.push_back(expert_json(expert));
  return {{"layer", layer.layer},
          {"tokens", layer.tokens},
          {"choices", layer.choices},
          {"dropped", layer.dropped},
          {"unused_slots", layer.unused_slots},
          {"max_vio", layer.max_vio},
          {"dead_experts", layer.dead_experts},
          {"load_entropy", layer.load_entropy},
          {"router_entropy", optional_json(layer.router_entropy)},
          {"nmi", optional_json(layer.nmi)},
          {"nmi_random", optional_json(layer.nmi_random)},
          {"repeat_rate", optional_json(layer.repeat_rate)},
          {"repeat_rate_random", layer.repeat_rate_random},
          {"label_expert", table_json(layer.label_expert_CE, n_experts)},
          {"label_expert_top1", table_json(layer.label_expert_top1_CE, n_experts)},
          {"coactivation", pair_table(layer.coactivation_EE)},
          {"coactivation_expected", pair_table(rounded(layer.expected_coactivation_EE))},
          {"top_pairs", pairs_json(layer.top_pairs)},
          {"flow", pair_table(layer.flow_EE)},
          {"experts", std::move(experts)}};
}

}  // namespace

json routing_json(const RoutingSummary& summary, int max_pair_experts) {
  json labels = json::array();
  for (const LabelTotal& label : summary.labels) {
    labels.push_back({{"name", label.name}, {"tokens", label.tokens}});
  }
  json layers = json::array();
  for (const LayerFigures& layer : summary.layers) {
    layers.push_back(layer_json(layer, summary.n_experts, summary.n_experts <= max_pair_experts));
  }
  return {{"schema", kRoutingSchema},
          {"n_experts", summary.n_experts},
          {"k", summary.k},
          {"vocab_size", summary.vocab_size},
          {"tokens", summary.tokens},
          {"labels", std::move(labels)},
          {"overall",
           {{"max_vio", summary.max_vio},
            {"max_vio_mean", summary.max_vio_mean},
            {"dead_experts", summary.dead_experts},
            {"nmi_mean", optional_json(summary.nmi_mean)},
            {"nmi_random_mean", optional_json(summary.nmi_random_mean)}}},
          {"layers", std::move(layers)}};
}

}  // namespace conclave::inspect
