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

// Candidates from the best on, with their probabilities over the best one's, sorted only as far as
// somebody asks: of 150,000 tokens a choice rarely needs more than the first few dozen.
class Ranking {
 public:
  Ranking(std::vector<Candidate> candidates, const SamplingOptions& o)
      : candidates_(std::move(candidates)), temperature_(o.temperature) {
    if (o.top_k > 0 && static_cast<std::size_t>(o.top_k) < candidates_.size()) {
      sorted_ = static_cast<std::size_t>(o.top_k);
      std::partial_sort(candidates_.begin(), begin_of_rest(), candidates_.end(), better);
      candidates_.resize(sorted_);
    }
    best_ = std::min_element(candidates_.begin(), candidates_.end(), better)->logit;
    for (const Candidate& c : candidates_) sum_ += probability(c);
  }

  std::size_t size() const { return candidates_.size(); }
  double sum() const { return sum_; }  // of all probabilities
  const Candidate& at(std::size_t i) {
    while (i >= sorted_) sort_more();
    return candidates_[i];
  }
  double probability(const Candidate& c) const {
    // An infinite best logit takes all the mass instead of making inf - inf.
    if (c.logit == best_) return 1;
    const double exponent = (c.logit - best_) / temperature_;
    return exponent < kNothing ? 0 : std::exp(exponent);
  }

 private:
  static constexpr double kNothing = -100;  // 4e-44: no number of tokens makes it count
  static constexpr double kStep = 6;        // a band of this width is sorted at once

  std::vector<Candidate>::iterator begin_of_rest() {
    return candidates_.begin() + static_cast<std::ptrdiff_t>(sorted_);
  }
  void sort_more() {
    depth_ -= kStep;
    const auto near = [this](const Candidate& c) {
      return c.logit == best_ || (c.logit - best_) / temperature_ >= depth_;
    };
    const auto end = depth_ < kNothing ? candidates_.end()
                                       : std::partition(begin_of_rest(), candidates_.end(), near);
    std::sort(begin_of_rest(), end, better);
    sorted_ = static_cast<std::size_t>(end - candidates_.begin());
  }

  std::vector<Candidate> candidates_;
  double temperature_;
  double best_ = 0, sum_ = 0;
  double depth_ = 0;
  std::size_t sorted_ = 0;
};

// What of a ranking top-p, min-p and typical-p leave.
struct Choices {
  std::vector<Candidate> candidates;
  std::vector<double> p;
};
Choices filter(Ranking& ranking, const SamplingOptions& o) {
  Choices left;
  double mass = 0;
  for (std::size_t n = 0; n < ranking.size(); ++n) {
    const Candidate& c = ranking.at(n);
    const double p = ranking.probability(c);
    if (n > 0 && (mass >= o.top_p || p < o.min_p)) break;
    mass += p / ranking.sum();
    left.candidates.push_back(c);
    left.p.push_back(p);
  }
  if (o.typical_p < 1) keep_typical(left.candidates, left.p, o.typical_p);
  return left;
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
  Ranking ranking(std::move(candidates), options);
  const double chance = Rng(options.seed).uniform(position);
  if (options.top_p >= 1 && options.min_p <= 0 && options.typical_p >= 1) {
    double target = chance * ranking.sum();
    for (std::size_t i = 0; i < ranking.size(); ++i) {
      target -= ranking.probability(ranking.at(i));
      if (target < 0) return ranking.at(i).id;
    }
    return ranking.at(0).id;  // rounding left nothing: the likeliest
  }
  const auto [left, p] = filter(ranking, options);
  double target = chance * std::accumulate(p.begin(), p.end(), 0.0);
  for (std::size_t i = 0; i < p.size(); ++i) {
    target -= p[i];
    if (target < 0) return left[i].id;
  }
  return left.back().id;
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
