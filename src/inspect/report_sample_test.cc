// A whole report of a made-up but plausible run: eight domains, four layers of eight experts that
// lean to some of them. The test checks what the made-up routing implies; with
// CONCLAVE_SAMPLE_REPORT=file.html in the environment it also leaves the page there to be looked
// at.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "inspect/report.h"
#include "inspect/routing_json.h"

namespace conclave::inspect {
namespace {

constexpr int kLayers = 4;
constexpr int kExperts = 8;
constexpr int kSlots = 2;
constexpr int kTokensPerDomain = 8192;

struct Domain {
  const char* name;
  std::vector<std::string> words;
};

const std::vector<Domain>& domains() {
  static const std::vector<Domain> list = {
      {"C", {"#define", " int", ";", "\n", " *", "struct", " const", "(", ")", "{", "}", "_t"}},
      {"Python",
       {"def", " self", ":", "\n    ", " return", " import", "(", ")", " None", ".", " in"}},
      {"Mathematics", {"|-", " A", " B", "->", " wff", " $p", "(", ")", " e.", "$=", " ph"}},
      {"English", {" the", " of", " and", ",", ".", " to", " was", " he", " that", " her", "ing"}},
      {"French", {" de", " la", " le", " des", "\xc3\xa9", " est", ",", " pour", " une", "ment"}},
      {"Japanese",
       {"\xe3\x81\xae", "\xe3\x81\xab", "\xe3\x81\xaf", "\xe3\x82\x92", "\xe3\x81\x97",
        "\xe3\x80\x82", "\xe3\x83\x95\xe3\x82\xa1\xe3\x82\xa4\xe3\x83\xab", "\xe3\x81",
        "\xe3\x81\xa6"}},
      {"Chinese",
       {"\xe7\x9a\x84", "\xe4\xb8\x80", "\xe6\x98\xaf", "\xe4\xb8\x8d", "\xef\xbc\x8c",
        "\xe3\x80\x82", "\xe6\x96\x87\xe4\xbb\xb6", "\xe4"}},
      {"Licences",
       {" license", " copyright", " the", " shall", " WARRANTY", ",", ".", " of", " any"}},
  };
  return list;
}

// Token ids: each domain's words, then 40 rare pieces of it. Words of several domains share an id.
struct Vocabulary {
  std::vector<std::string> texts;
  std::vector<std::vector<std::int32_t>> ids_of_domain;

  Vocabulary() {
    for (const Domain& domain : domains()) {
      std::vector<std::string> words = domain.words;
      for (int i = 0; i < 40; ++i) words.push_back(fmt::format(" {}{}", domain.name[0], i));
      std::vector<std::int32_t>& ids = ids_of_domain.emplace_back();
      for (const std::string& word : words) {
        std::size_t id = 0;
        while (id < texts.size() && texts[id] != word) ++id;
        if (id == texts.size()) texts.push_back(word);
        ids.push_back(static_cast<std::int32_t>(id));
      }
    }
  }
};

// Scores of one token in one layer: domains pull towards an expert, more so in deeper layers, and
// tokens have their own taste.
std::vector<float> scores_of(const Rng& rng, int layer, int domain, std::int32_t token,
                             std::uint64_t position) {
  std::vector<double> logits(kExperts);
  for (int e = 0; e < kExperts; ++e) {
    const double taste = Rng(17, static_cast<std::uint64_t>(layer))
                             .normal(static_cast<std::uint64_t>(token * kExperts + e));
    const int home = (domain * 5 + layer * 3) % kExperts;
    const double pull = e == home ? 1.2 + 0.5 * layer : e == (home + 3) % kExperts ? 0.9 : 0;
    const double noise =
        rng.normal((position * kLayers + static_cast<std::uint64_t>(layer)) * kExperts +
                   static_cast<std::uint64_t>(e));
    logits[static_cast<std::size_t>(e)] = 0.8 * taste + pull + 0.4 * noise;
  }
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit);
  std::vector<float> scores;
  for (const double logit : logits) scores.push_back(static_cast<float>(std::exp(logit) / sum));
  return scores;
}

void add_token(moe::RoutingDecision& decision, const std::vector<float>& scores) {
  std::size_t best = 0, second = 1;
  if (scores[second] > scores[best]) std::swap(best, second);
  for (std::size_t e = 2; e < scores.size(); ++e) {
    if (scores[e] > scores[best]) {
      second = std::exchange(best, e);
    } else if (scores[e] > scores[second]) {
      second = e;
    }
  }
  for (const std::size_t e : {best, second}) {
    decision.topk_ids_TK.push_back(static_cast<std::int32_t>(e));
    decision.topk_weights_TK.push_back(scores[e] / (scores[best] + scores[second]));
  }
  decision.scores_TE.insert(decision.scores_TE.end(), scores.begin(), scores.end());
}

RoutingSummary sample_routing() {
  const Vocabulary vocabulary;
  std::vector<std::string> labels;
  for (const Domain& domain : domains()) labels.push_back(domain.name);
  RoutingAnalysis analysis(kLayers, kExperts, kSlots, labels,
                           static_cast<int>(vocabulary.texts.size()));
  for (int domain = 0; domain < static_cast<int>(labels.size()); ++domain) {
    const auto& ids = vocabulary.ids_of_domain[static_cast<std::size_t>(domain)];
    const Rng rng(99, static_cast<std::uint64_t>(domain));
    std::vector<std::int32_t> chunk;
    for (std::uint64_t t = 0; t < kTokensPerDomain; ++t) {
      const double u = rng.fork(1).uniform(t);  // about Zipf's law
      chunk.push_back(
          ids[static_cast<std::size_t>(std::pow(u, 3) * static_cast<double>(ids.size()))]);
    }
    for (int layer = 0; layer < kLayers; ++layer) {
      moe::RoutingDecision decision;
      decision.n_tokens = kTokensPerDomain;
      decision.n_experts = kExperts;
      decision.k = kSlots;
      for (std::uint64_t t = 0; t < kTokensPerDomain; ++t) {
        add_token(decision, scores_of(rng, layer, domain, chunk[t], t));
      }
      analysis.add(domain, layer, chunk, decision);
    }
  }
  SummaryOptions options;
  options.token_text = [&](std::int32_t id) {
    return vocabulary.texts[static_cast<std::size_t>(id)];
  };
  return summarise(analysis, options);
}

std::vector<HistoryPoint> sample_history() {
  const Rng rng(4);
  std::vector<HistoryPoint> history;
  for (std::uint64_t i = 1; i <= 600; ++i) {
    HistoryPoint point;
    const double step = static_cast<double>(i) * 10;
    point.step = static_cast<std::int64_t>(step);
    point.tokens = point.step * 4096;
    point.loss = 2.35 + 6.0 * std::pow(step / 40 + 1, -0.55) + 0.09 * rng.normal(i);
    if (i % 25 == 0) point.heldout_loss = 2.42 + 6.0 * std::pow(step / 40 + 1, -0.55);
    point.learning_rate = step < 300
                              ? step / 300 * 1e-3
                              : 1e-4 + 4.5e-4 * (1 + std::cos(3.14159 * (step - 300) / 5700));
    point.tokens_per_second = 11'800 + 300 * rng.normal(10'000 + i);
    for (std::uint64_t layer = 0; layer < kLayers; ++layer) {
      const double noise = 0.06 * rng.uniform(20'000 + i * kLayers + layer);
      point.max_vio_L.push_back(0.12 + noise +
                                (2.0 - 0.3 * static_cast<double>(layer)) *
                                    std::exp(-step / (500 + 200 * static_cast<double>(layer))));
    }
    history.push_back(point);
  }
  return history;
}

ReportData sample_report() {
  ReportData data;
  data.title = "A small mixture of experts, eight domains";
  data.subtitle =
      "4 layers of 8 experts, 2 per token, trained from scratch on one computer. Made-up figures.";
  data.facts = {{"Parameters", "12.4 M", "3.9 M active for each token"},
                {"Trained on", "24.6 M tokens", "6000 steps of 4096 tokens"},
                {"Speed", "11.8 k tokens/s", "35 minutes on 2 cores"},
                {"Held-out loss", "2.61 nats/token", "1.18 bits per byte"},
                {"Best layer's NMI", "0.41", "chance: 0.0002"}};
  double nats = 1.6;
  for (const Domain& domain : domains()) {
    data.heldout.push_back({domain.name, kTokensPerDomain, nats, nats / 2.2});
    nats += 0.21;
  }
  data.history = sample_history();
  data.routing = sample_routing();
  data.samples = {{"C", "static int ",
                   "read_header(struct file *f, size_t n)\n{\n\tif (n < 8)\n\t\treturn -EINVAL;\n"
                   "\treturn f->ops->read(f, n);\n}\n"},
                  {"French", "Le fichier ",
                   "de configuration est lu au d\xc3\xa9marrage. Si l'option est absente, la "
                   "valeur par d\xc3\xa9"
                   "faut est utilis\xc3\xa9"
                   "e."},
                  {"Japanese", "\xe3\x81\x93\xe3\x81\xae",
                   "\xe3\x83\x95\xe3\x82\xa1\xe3\x82\xa4\xe3\x83\xab\xe3\x81\xaf\xe8\xa8"
                   "\xad\xe5\xae\x9a\xe3\x81\xae\xe3\x81\x9f\xe3\x82\x81\xe3\x81\xae\xe3\x82\x82"
                   "\xe3\x81\xae\xe3\x81\xa7\xe3\x81\x99\xe3\x80\x82"},
                  {"English", "It was ",
                   "the best of houses, and he had come to her with the intention of staying a "
                   "week; but the rain, which had begun in the morning, kept them all within."}};
  return data;
}

TEST(SampleReport, ShowsTheSpecialisationThatWasPutIn) {
  const ReportData data = sample_report();
  const RoutingSummary& routing = *data.routing;
  EXPECT_GT(*routing.nmi_mean, 50 * *routing.nmi_random_mean);
  EXPECT_GT(*routing.layers[3].nmi, *routing.layers[0].nmi);
  // Domain 5 is at home in expert (5 * 5 + 3 * 3) % 8 of the last layer.
  const auto& expert = routing.layers[3].experts[2];
  EXPECT_GT(expert.labels[5].share, 0.4);
  EXPECT_NE(expert.words.find("Japanese"), std::string::npos) << expert.words;
  EXPECT_GT(*routing.layers[3].repeat_rate, 1.5 * routing.layers[3].repeat_rate_random);
  EXPECT_EQ(routing.dead_experts, 0);

  const std::string page = render_report(data);
  EXPECT_LT(page.size(), 700'000u);
  EXPECT_EQ(page, render_report(sample_report()));
  if (const char* path = std::getenv("CONCLAVE_SAMPLE_REPORT")) write_report(path, data);
}

}  // namespace
}  // namespace conclave::inspect
