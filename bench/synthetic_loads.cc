#include "synthetic_loads.h"

#include <fmt/ranges.h>
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/rng.h"
#include "io/json.h"

namespace conclave {
namespace {

// Counts of one layer as shares of `n` experts: as they are, or resampled by rank and shuffled.
std::vector<double> shares_of(const std::vector<double>& counts, int n, std::uint64_t seed) {
  std::vector<double> shares(static_cast<std::size_t>(n));
  if (counts.size() == shares.size()) {
    shares = counts;
  } else {
    std::vector<double> sorted = counts;
    std::sort(sorted.begin(), sorted.end());
    for (std::size_t e = 0; e < shares.size(); ++e) {
      shares[e] = sorted[(2 * e + 1) * sorted.size() / (2 * shares.size())];
    }
    const Rng rng(seed);
    for (std::size_t e = shares.size(); e > 1; --e)
      std::swap(shares[e - 1], shares[rng.below(e, e)]);
  }
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  for (double& share : shares) share /= sum;
  return shares;
}

}  // namespace

std::vector<std::vector<double>> read_loads(const std::string& path, const std::string& domain,
                                            int n_layers, int n_experts) {
  const nlohmann::json document = io::read_json_file(path);
  const io::JsonView models = io::JsonView(document, path).object("models");
  std::string best;
  std::int64_t most = 0;
  for (const std::string& name : models.keys()) {
    const std::int64_t experts = models.object(name).integer("experts", 1, 65536);
    if (experts == n_experts || (experts > most && most != n_experts)) best = name, most = experts;
  }
  if (best.empty()) models.fail_at("models", "expected one model at least");
  const io::JsonView counts = models.object(best).object("counts");
  if (!counts.has(domain)) {
    counts.fail_at(domain, fmt::format("absent; there are {}", fmt::join(counts.keys(), ", ")));
  }
  std::vector<std::vector<double>> rows;
  for (const nlohmann::json& row : counts.value().at(domain)) {
    const nlohmann::json object = {{"row", row}};
    rows.push_back(io::JsonView(object, path, domain).numbers("row"));
    const std::vector<double>& last = rows.back();
    const double sum = std::accumulate(last.begin(), last.end(), 0.0);
    const bool negative = std::any_of(last.begin(), last.end(), [](double n) { return n < 0; });
    if (negative || !(sum > 0 && sum < 1e15)) {
      counts.fail_at(domain, "expected rows of counts that are not all zero");
    }
  }
  if (rows.empty()) counts.fail_at(domain, "expected rows of counts, of one layer at least");
  std::vector<std::vector<double>> loads;
  for (int layer = 0; layer < n_layers; ++layer) {
    const std::size_t row =
        static_cast<std::size_t>(layer) * rows.size() / static_cast<std::size_t>(n_layers);
    loads.push_back(shares_of(rows[row], n_experts, static_cast<std::uint64_t>(row)));
  }
  return loads;
}

std::vector<float> router_biases(const std::vector<double>& shares, int k) {
  constexpr std::size_t kTokens = 4096;
  constexpr int kRounds = 200;
  const std::size_t n = shares.size();
  const Rng rng(n);
  std::vector<double> drawn(kTokens * n), biases(n, 0.0), counts(n);
  for (std::size_t i = 0; i < drawn.size(); ++i) drawn[i] = rng.normal(i);
  std::vector<std::pair<double, std::size_t>> logits(n);
  for (int round = 0; round < kRounds; ++round) {
    std::fill(counts.begin(), counts.end(), 0.0);
    for (std::size_t t = 0; t < kTokens; ++t) {
      for (std::size_t e = 0; e < n; ++e) logits[e] = {drawn[t * n + e] + biases[e], e};
      std::nth_element(logits.begin(), logits.begin() + k, logits.end(), std::greater<>());
      for (int i = 0; i < k; ++i) ++counts[logits[static_cast<std::size_t>(i)].second];
    }
    for (std::size_t e = 0; e < n; ++e) {
      const double wanted = shares[e] * kTokens * k;
      biases[e] += 0.5 * std::log((wanted + 1) / (counts[e] + 1));
    }
  }
  std::vector<float> elements;
  for (const double bias : biases) elements.push_back(static_cast<float>(bias / kBiasElement));
  return elements;
}

}  // namespace conclave
