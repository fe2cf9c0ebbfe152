// The gradient of every router in the registry, with every loss, against central differences in
// float64. The selection is held fixed by checking that it did not change.
#include <gtest/gtest.h>

#include <cmath>
#include <optional>

#include "moe/losses.h"
#include "moe/routers/test_cases.h"

namespace conclave::moe {
namespace {

using testing::router_cases;
using testing::RouterCase;
using testing::RouterData;

constexpr int kTokens = 5;

enum Term { kWeights, kScores, kBalance, kSequence, kZ, kImportance, kLoad, kAll, kTermCount };
constexpr const char* kTermNames[] = {"weights", "scores",     "load balance", "sequence balance",
                                      "z-loss",  "importance", "load",         "all"};

class Check {
 public:
  Check(const RouterCase& test, Term term, std::uint64_t seed)
      : test_(test), term_(term), data_(test, kTokens, seed), seed_(seed) {
    context_.emplace(1);
    reference_ = router_forward(*context_, test_.config, data_.input);
  }

  bool has(Term term) const { return term_ == term || term_ == kAll; }
  double factor(Term term, std::size_t i) const {
    return Rng(seed_, 77).fork(static_cast<std::uint64_t>(term)).normal(i);
  }

  // The scalar, and whether the selection is that of the unperturbed input.
  double value(bool* same) {
    const auto decision = router_forward(*context_, test_.config, data_.input);
    *same = decision.topk_ids_TK == reference_.topk_ids_TK;
    double sum = 0;
    for (std::size_t i = 0; has(kWeights) && i < decision.topk_weights_TK.size(); ++i) {
      sum += factor(kWeights, i) * decision.topk_weights_TK[i];
    }
    for (std::size_t i = 0; has(kScores) && i < decision.scores_TE.size(); ++i) {
      sum += factor(kScores, i) * decision.scores_TE[i];
    }
    double* const none = nullptr;
    if (has(kBalance)) sum += 0.7 * load_balance_loss(decision, {}, none);
    if (has(kSequence)) sum += 0.3 * sequence_balance_loss(decision, kOffsets, 1, none);
    if (has(kZ)) sum += 0.2 * z_loss(*context_, decision, 1, none);
    if (has(kImportance)) sum += 0.9 * importance_loss(decision, 1, none);
    if (has(kLoad)) {
      sum += 1.1 * noisy_load_loss(*context_, test_.config, data_.input, decision, 1.1, none, none);
    }
    return sum;
  }

  void gradient(std::vector<double>& d_logits, std::vector<double>& d_noise) {
    std::vector<double> d_weights(reference_.topk_weights_TK.size(), 0.0);
    std::vector<double> d_scores(reference_.scores_TE.size(), 0.0);
    for (std::size_t i = 0; has(kWeights) && i < d_weights.size(); ++i) {
      d_weights[i] = factor(kWeights, i);
    }
    for (std::size_t i = 0; has(kScores) && i < d_scores.size(); ++i) {
      d_scores[i] = factor(kScores, i);
    }
    if (has(kBalance)) load_balance_loss(reference_, {.coefficient = 0.7}, d_scores.data());
    if (has(kSequence)) sequence_balance_loss(reference_, kOffsets, 0.3, d_scores.data());
    if (has(kImportance)) importance_loss(reference_, 0.9, d_weights.data());
    const bool noisy = data_.input.noise_logits_TE != nullptr;
    // Garbage, since these are assigned.
    d_logits.assign(data_.logits_TE.size(), 1e9);
    d_noise.assign(data_.logits_TE.size(), 1e9);
    router_backward(*context_, test_.config, data_.input, reference_,
                    RouterGradientsOf<double>{d_weights.data(), d_scores.data(), d_logits.data(),
                                              noisy ? d_noise.data() : nullptr});
    if (has(kZ)) z_loss(*context_, reference_, 0.2, d_logits.data());
    if (has(kLoad)) {
      noisy_load_loss(*context_, test_.config, data_.input, reference_, 1.1, d_logits.data(),
                      noisy ? d_noise.data() : nullptr);
    }
  }

  // d value / d element by central differences; NaN where the selection changed.
  double difference(double& element) {
    constexpr double kStep = 1e-5;
    const double kept = element;
    bool same_up = false;
    bool same_down = false;
    element = kept + kStep;
    const double up = value(&same_up);
    element = kept - kStep;
    const double down = value(&same_down);
    element = kept;
    return same_up && same_down ? (up - down) / (2 * kStep) : std::nan("");
  }

  // Returns the largest gradient seen.
  double run() {
    std::vector<double> d_logits;
    std::vector<double> d_noise;
    gradient(d_logits, d_noise);
    double largest = compare(data_.logits_TE, d_logits, "logit");
    if (data_.input.noise_logits_TE != nullptr) {
      largest_noise = compare(data_.noise_logits_TE, d_noise, "noise logit");
    }
    return largest;
  }

  double largest_noise = 0;

 private:
  static constexpr std::int32_t kOffsets[] = {0, 2, 2, kTokens};

  double compare(std::vector<double>& values, const std::vector<double>& gradient,
                 const char* what) {
    double largest = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double numeric = difference(values[i]);
      EXPECT_FALSE(std::isnan(numeric)) << "a tie: choose another seed";
      EXPECT_NEAR(gradient[i], numeric, 1e-6 * std::abs(numeric) + 2e-9)
          << test_.name() << ": " << kTermNames[term_] << ", " << what << " " << i;
      if (::testing::Test::HasFailure()) return largest;
      largest = std::max(largest, std::abs(gradient[i]));
    }
    return largest;
  }

  RouterCase test_;
  Term term_;
  RouterData<double> data_;
  std::uint64_t seed_;
  std::optional<ops::Context> context_;
  RoutingDecisionOf<double> reference_;
};

// Whether the term must reach the logits at all: a constant loss would pass any comparison.
bool must_have_gradient(const RouterCase& test, const RouterTraits& traits, Term term) {
  const int n = test.config.n_experts;
  if (n == 1) return term == kZ;
  if (term == kWeights && !testing::is_trainable(test.config)) return false;
  const bool all = test.config.k == n;
  const bool noise = traits.needs_noise_logits && test.training;
  switch (term) {
    case kWeights:
    case kScores:
    case kZ:
    case kAll:
      return true;
    case kBalance:  // with K = E every f is 1 and sum P is 1: a true constant
    case kSequence:
      return traits.causal && !all;
    case kImportance:
      return traits.causal && testing::is_trainable(test.config);
    case kLoad:
      return noise && !all;
    case kTermCount:
      break;
  }
  return false;
}

class RouterGradient : public ::testing::TestWithParam<std::string> {};

TEST_P(RouterGradient, EqualsCentralDifferences) {
  const RouterTraits& traits = router_traits(GetParam());
  int checked = 0;
  for (const RouterCase& test : router_cases(traits)) {
    for (int term = 0; term < kTermCount; ++term) {
      Check check(test, static_cast<Term>(term), 5);
      const double largest = check.run();
      if (HasFailure()) return;
      if (must_have_gradient(test, traits, static_cast<Term>(term))) {
        EXPECT_GT(largest, 1e-4) << test.name() << ": " << kTermNames[term] << " is constant";
      }
      if (term == kWeights && !testing::is_trainable(test.config)) {
        EXPECT_EQ(largest, 0) << test.name() << ": refused for training, but it learns";
        continue;
      }
      if (traits.needs_noise_logits && test.training && term == kWeights) {
        EXPECT_GT(check.largest_noise, 1e-4) << test.name();
      }
      ++checked;
    }
  }
  EXPECT_GE(checked, kTermCount * 4);
}

INSTANTIATE_TEST_SUITE_P(Registry, RouterGradient,
                         ::testing::ValuesIn(testing::router_names(&RouterTraits::needs_logits)),
                         testing::param_name);

}  // namespace
}  // namespace conclave::moe
