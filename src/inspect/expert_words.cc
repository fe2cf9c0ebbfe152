// The sentences about experts; see expert_words.h.
#include "inspect/expert_words.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>

namespace conclave::inspect {
namespace {

constexpr double kMostlyShare = 0.5;
constexpr double kLeaningLift = 1.5;
constexpr double kSmallShare = 0.05;  // a label below it is not worth a word, whatever its lift
constexpr std::size_t kMaxLeanings = 3;
constexpr std::size_t kMaxTokens = 6;

std::string percent(double share) {
  return share > 0 && share < 0.01 ? "under 1 %" : fmt::format("{:.0f} %", share * 100);
}

std::string times(double lift) { return fmt::format("{:.1f} times the average", lift); }

// Labels that the expert sees clearly more often than others do, most of its tokens first.
std::vector<LabelFigures> leanings_of(const ExpertFigures& expert) {
  std::vector<LabelFigures> found;
  for (const LabelFigures& figures : expert.labels) {
    if (figures.lift >= kLeaningLift && figures.share >= kSmallShare) found.push_back(figures);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const LabelFigures& x, const LabelFigures& y) { return x.share > y.share; });
  if (found.size() > kMaxLeanings) found.resize(kMaxLeanings);
  return found;
}

std::string domain_words(const ExpertFigures& expert, const std::vector<LabelTotal>& labels) {
  if (expert.labels.size() < 2) return "";
  const auto name = [&](const LabelFigures& figures) -> const std::string& {
    return labels.at(static_cast<std::size_t>(figures.label)).name;
  };
  const std::vector<LabelFigures> leanings = leanings_of(expert);
  if (leanings.empty()) {
    const auto most = std::max_element(
        expert.labels.begin(), expert.labels.end(),
        [](const LabelFigures& x, const LabelFigures& y) { return x.lift < y.lift; });
    return fmt::format(" works for all domains about alike (most for {}, {})", name(*most),
                       times(most->lift));
  }
  if (leanings[0].share >= kMostlyShare) {
    return fmt::format(" handles mostly {} ({} of its tokens, {})", name(leanings[0]),
                       percent(leanings[0].share), times(leanings[0].lift));
  }
  std::string words = " leans to ";
  for (std::size_t i = 0; i < leanings.size(); ++i) {
    if (i > 0) words += i + 1 == leanings.size() ? " and " : ", ";
    words += fmt::format("{} ({} of its tokens, {})", name(leanings[i]), percent(leanings[i].share),
                         times(leanings[i].lift));
  }
  return words;
}

}  // namespace

std::string expert_words(const ExpertFigures& expert, int layer,
                         const std::vector<LabelTotal>& labels) {
  std::string words = fmt::format("Expert {} of layer {}", expert.expert, layer);
  if (expert.choices == 0) return words + " was never chosen.";
  if (expert.choices < kMinChoicesForWords) {
    return words + fmt::format(" was chosen {} time{}, too few to say what it does.",
                               expert.choices, expert.choices == 1 ? "" : "s");
  }
  const std::string domain = domain_words(expert, labels);
  words += domain;
  if (!expert.favourites.empty()) {
    words += domain.empty() ? " likes: " : "; likes: ";
    for (std::size_t i = 0; i < std::min(kMaxTokens, expert.favourites.size()); ++i) {
      words += fmt::format("{}\"{}\"", i == 0 ? "" : ", ", expert.favourites[i].text);
    }
  } else if (domain.empty()) {
    words += fmt::format(" takes {} of the choices and has no favourite tokens",
                         percent(expert.load_share));
  }
  return words + ".";
}

}  // namespace conclave::inspect
