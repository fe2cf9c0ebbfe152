// Statistics as text: JSON and Prometheus.
#include <iterator>

#include "base/error.h"
#include "moe/statistics.h"

namespace conclave::moe {
namespace {

using Sink = std::back_insert_iterator<std::string>;

void write_layer_json(Sink out, std::size_t layer, const RoutingStatistics& s, bool coactivation) {
  const BalanceFigures b = s.balance();
  fmt::format_to(out, "{{\"layer\":{},\"experts\":{},\"tokens\":{},\"choices\":{},\"dropped\":{},",
                 layer, s.n_experts(), s.tokens(), s.choices(), s.dropped());
  fmt::format_to(out, "\"nonfinite_tokens\":{},\"store_hits\":{},\"store_misses\":{},",
                 s.nonfinite_tokens(), s.store_hits(), s.store_misses());
  fmt::format_to(out, "\"load_entropy\":{},\"router_entropy\":{},\"max_over_mean\":{},",
                 b.load_entropy, b.router_entropy, b.max_over_mean);
  fmt::format_to(out, "\"min_over_mean\":{},\"max_violation\":{},\"dead_experts\":{},",
                 b.min_over_mean, b.max_violation, b.dead_experts);
  fmt::format_to(out, "\"tokens_per_expert\":[{}]", fmt::join(s.tokens_per_expert(), ","));
  if (coactivation) {
    fmt::format_to(out, ",\"coactivation\":[");
    for (int a = 0; a < s.n_experts(); ++a) {
      fmt::format_to(out, "{}[", a == 0 ? "" : ",");
      for (int c = 0; c < s.n_experts(); ++c) {
        fmt::format_to(out, "{}{}", c == 0 ? "" : ",", s.coactivation(a, c));
      }
      fmt::format_to(out, "]");
    }
    fmt::format_to(out, "]");
  }
  fmt::format_to(out, "}}");
}

struct Metric {
  const char* name;
  const char* type;
  const char* help;
  double (*value)(const RoutingStatistics&, const BalanceFigures&);
};

constexpr Metric kMetrics[] = {
    {"conclave_routed_tokens_total", "counter", "Tokens that passed the router.",
     [](const RoutingStatistics& s, const BalanceFigures&) { return double(s.tokens()); }},
    {"conclave_dropped_choices_total", "counter", "Choices dropped by a capacity limit.",
     [](const RoutingStatistics& s, const BalanceFigures&) { return double(s.dropped()); }},
    {"conclave_nonfinite_tokens_total", "counter", "Tokens with a NaN or infinite router logit.",
     [](const RoutingStatistics& s, const BalanceFigures&) {
       return double(s.nonfinite_tokens());
     }},
    {"conclave_store_hits_total", "counter", "Experts that were ready when asked for.",
     [](const RoutingStatistics& s, const BalanceFigures&) { return double(s.store_hits()); }},
    {"conclave_store_misses_total", "counter", "Experts that had to be fetched.",
     [](const RoutingStatistics& s, const BalanceFigures&) { return double(s.store_misses()); }},
    {"conclave_load_entropy_nats", "gauge", "Entropy of tokens per expert.",
     [](const RoutingStatistics&, const BalanceFigures& b) { return b.load_entropy; }},
    {"conclave_router_entropy_nats", "gauge", "Mean entropy of the router's scores.",
     [](const RoutingStatistics&, const BalanceFigures& b) { return b.router_entropy; }},
    {"conclave_max_violation", "gauge", "(max - mean) / mean of tokens per expert.",
     [](const RoutingStatistics&, const BalanceFigures& b) { return b.max_violation; }},
    {"conclave_dead_experts", "gauge", "Experts that no token chose.",
     [](const RoutingStatistics&, const BalanceFigures& b) { return double(b.dead_experts); }},
};

}  // namespace

std::string statistics_json(std::span<const RoutingStatistics> layers, bool with_coactivation) {
  std::string text = "{\"schema\":\"conclave.routing/1\",\"layers\":[";
  bool first = true;
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    if (layers[layer].n_experts() == 0) continue;
    if (!first) text += ',';
    first = false;
    write_layer_json(std::back_inserter(text), layer, layers[layer], with_coactivation);
  }
  return text + "]}";
}

std::string statistics_prometheus(std::span<const RoutingStatistics> layers) {
  std::string text;
  Sink out = std::back_inserter(text);
  std::vector<BalanceFigures> figures;
  for (const RoutingStatistics& layer : layers) figures.push_back(layer.balance());
  for (const Metric& metric : kMetrics) {
    fmt::format_to(out, "# HELP {} {}\n# TYPE {} {}\n", metric.name, metric.help, metric.name,
                   metric.type);
    for (std::size_t layer = 0; layer < layers.size(); ++layer) {
      if (layers[layer].n_experts() == 0) continue;
      fmt::format_to(out, "{}{{layer=\"{}\"}} {}\n", metric.name, layer,
                     metric.value(layers[layer], figures[layer]));
    }
  }
  constexpr const char* kExperts = "conclave_expert_tokens_total";
  fmt::format_to(out, "# HELP {} Tokens that chose the expert.\n# TYPE {} counter\n", kExperts,
                 kExperts);
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    for (std::size_t e = 0; e < layers[layer].tokens_per_expert().size(); ++e) {
      fmt::format_to(out, "{}{{layer=\"{}\",expert=\"{}\"}} {}\n", kExperts, layer, e,
                     layers[layer].tokens_per_expert()[e]);
    }
  }
  return text;
}

}  // namespace conclave::moe
