#include "infer/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <unordered_map>

#include "base/error.h"
#include "base/rng.h"

namespace conclave::infer {
namespace {

struct Candidate {
  std::int32_t id;
  double logit;
};

// Better first; equal ones by id, so that the result does not depend on how they were sorted.
bool better(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

void penalise(std::vector<Candidate>& candidates, const SamplingOptions& o,
              std::span<const std::int32_t> context) {
  const bool active = o.repeat_penalty != 1 || o.presence_penalty != 0 || o.frequency_penalty != 0;
  if (!active) return;
  const auto window = std::min(context.size(), static_cast<std::size_t>(o.penalty_window));
  std::unordered_map<std::int32_t, int> seen;
  for (std::int32_t id : context.last(window)) ++seen[id];
  for (Candidate& c : candidates) {
    const auto found = seen.find(c.id);
    if (found == seen.end()) continue;
    c.logit = c.logit > 0 ? c.logit / o.repeat_penalty : c.logit * o.repeat_penalty;
    c.logit -= o.presence_penalty + o.frequency_penalty * found->second;
  }
}

std::vector<Candidate> candidates_of(std::span<const float> logits_V, const SamplingOptions& o,
                                     const grammar::TokenMask* mask) {
  std::vector<Candidate> candidates;
  const auto add = [&](std::size_t i) {
    const auto value = static_cast<double>(logits_V[i]);
    if (!std::isnan(value)) candidates.push_back({static_cast<std::int32_t>(i), value});
  };
  if (mask == nullptr) {
    candidates.reserve(logits_V.size());
    for (std::size_t i = 0; i < logits_V.size(); ++i) add(i);
  } else {
    for (std::size_t w = 0; w < mask->words.size(); ++w) {
      for (std::uint64_t word = mask->words[w]; word != 0; word &= word - 1) {
        const std::size_t i = 64 * w + static_cast<std::size_t>(std::countr_zero(word));
        if (i < logits_V.size()) add(i);
      }
    }
  }
  if (candidates.empty()) {
    fail(ErrorKind::kNumeric, "the model's logits are not numbers (a diverged or damaged model)");
  }
  if (!o.logit_bias.empty()) {
    for (Candidate& c : candidates) {
      const auto bias = o.logit_bias.find(c.id);
      if (bias != o.logit_bias.end()) c.logit += bias->second;
    }
  }
  return candidates;
}

// Keeps the tokens whose information is nearest to the entropy, up to a mass (Meister et al. 2022,
// "Locally Typical Sampling", section 4).
void keep_typical(std::vector<Candidate>& candidates, std::vector<double>& p, double mass) {
  double sum = 0, entropy = 0;
  for (const double value : p) sum += value;
  for (const double value : p) {
    if (value > 0) entropy -= value / sum * std::log(value / sum);
  }
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto distance = [&](std::size_t i) { return std::abs(-std::log(p[i] / sum) - entropy); };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return distance(a) < distance(b); });
  std::size_t n = 0;
  for (double reached = 0; n < order.size() && (n == 0 || reached < mass); ++n) {
    reached += p[order[n]] / sum;
  }
  order.resize(n);
  std::sort(order.begin(), order.end());
  for (std::size_t i = 0; i < n; ++i) {
    candidates[i] = candidates[order[i]];
    p[i] = p[order[i]];
  }
  candidates.resize(n);
  p.resize(n);
}

// Keeps the candidates, sorted, that top-k, top-p and min-p leave, with their probabilities.
std::vector<double> filter(std::vector<Candidate>& candidates, const SamplingOptions& o) {
  const bool cut = o.top_k > 0 && static_cast<std::size_t>(o.top_k) < candidates.size();
  const auto keep = cut ? static_cast<std::size_t>(o.top_k) : candidates.size();
  std::partial_sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(keep),
                    candidates.end(), better);
  candidates.resize(keep);
  std::vector<double> p(keep);
  double sum = 0;
  for (std::size_t i = 0; i < keep; ++i) {
    // An infinite best logit takes all the mass instead of making inf - inf.
    const double gap = candidates[i].logit - candidates[0].logit;
    p[i] = candidates[i].logit == candidates[0].logit ? 1.0 : std::exp(gap / o.temperature);
    sum += p[i];
  }
  double mass = 0;
  std::size_t n = 0;
  while (n < keep && (n == 0 || (mass < o.top_p && p[n] >= o.min_p))) mass += p[n++] / sum;
  p.resize(n);
  candidates.resize(n);
  if (o.typical_p < 1) keep_typical(candidates, p, o.typical_p);
  return p;
}

}  // namespace

void validate(const SamplingOptions& o) {
  const auto range = [](const char* name, double value, double min, double max) {
    if (!(value >= min && value <= max)) {
      fail(ErrorKind::kInvalidArgument, "{}: found {}, expected {} to {}", name, value, min, max);
    }
  };
  range("temperature", o.temperature, 0, 100);
  range("top-k", o.top_k, 0, 1 << 30);
  range("top-p", o.top_p, 0, 1);
  range("min-p", o.min_p, 0, 1);
  range("typical-p", o.typical_p, 0, 1);
  range("repeat-penalty", o.repeat_penalty, 1e-3, 1e3);
  range("presence-penalty", o.presence_penalty, -100, 100);
  range("frequency-penalty", o.frequency_penalty, -100, 100);
  range("penalty-window", o.penalty_window, 0, 1 << 30);
}

std::int32_t sample(std::span<const float> logits_V, const SamplingOptions& options,
                    std::span<const std::int32_t> context, std::uint64_t position,
                    const grammar::TokenMask* mask) {
  std::vector<Candidate> candidates = candidates_of(logits_V, options, mask);
  penalise(candidates, options, context);
  if (options.temperature == 0) {
    return std::min_element(candidates.begin(), candidates.end(), better)->id;
  }
  const std::vector<double> p = filter(candidates, options);
  double sum = 0;
  for (double value : p) sum += value;
  double target = Rng(options.seed).uniform(position) * sum;
  for (std::size_t i = 0; i < p.size(); ++i) {
    target -= p[i];
    if (target < 0) return candidates[i].id;
  }
  return candidates.back().id;
}

Logprobs log_probabilities(std::span<const float> logits_V, std::int32_t chosen, int n) {
  std::vector<Candidate> candidates = candidates_of(logits_V, {}, nullptr);
  const auto keep = std::min(candidates.size(), static_cast<std::size_t>(std::max(n, 1)));
  std::partial_sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(keep),
                    candidates.end(), better);
  const double best = candidates[0].logit;
  double sum = 0;
  for (const Candidate& c : candidates) sum += c.logit == best ? 1.0 : std::exp(c.logit - best);
  const auto logprob = [&](double logit) {
    return (logit == best ? 0.0 : logit - best) - std::log(sum);
  };
  Logprobs result;
  const auto value = static_cast<double>(logits_V[static_cast<std::size_t>(chosen)]);
  result.chosen = {chosen, logprob(value)};
  for (int i = 0; i < std::min<int>(n, static_cast<int>(keep)); ++i) {
    const Candidate& c = candidates[static_cast<std::size_t>(i)];
    result.top.push_back({c.id, logprob(c.logit)});
  }
  return result;
}

}  // namespace conclave::infer
