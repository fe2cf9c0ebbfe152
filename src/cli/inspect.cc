// conclave inspect: what the experts of a model do on labelled text; a report, and the figures.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/verbs.h"
#include "infer/session.h"
#include "inspect/report.h"
#include "inspect/routing_analysis.h"
#include "inspect/routing_json.h"
#include "inspect/routing_summary.h"
#include "io/json.h"
#include "io/text_files.h"
#include "nn/evaluate.h"
#include "sys/files.h"
#include "sys/interrupt.h"
#include "train/data.h"
#include "train/history.h"

namespace conclave::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::size_t kPromptBytes = 160;  // of a held-out document, given as a sample's prompt

struct Options {
  std::string model, report, routing, summary, title;
  std::vector<std::string> data;
  std::int64_t max_tokens = 0, window = 0, sample_tokens = 64;
  bool samples = false;
  std::uint64_t seed = 1;
  MachineOptions machine;
};

// What one label's text came to.
struct LabelResult {
  nn::Likelihood likelihood;
  std::int64_t bytes = 0;
  double per_token() const { return likelihood.nll / static_cast<double>(likelihood.tokens); }
  double per_byte() const { return likelihood.nll / static_cast<double>(bytes); }
};

struct Findings {
  std::vector<std::string> labels;
  std::vector<LabelResult> results;
  std::vector<inspect::ReportSample> samples;
  inspect::RoutingSummary routing;
};

// The MoE layers of a model: their numbers, and each layer's place among them (-1: dense).
struct MoeLayers {
  std::vector<int> ids, index_L;
  int n_experts = 0, slots = 0;

  explicit MoeLayers(const nn::TransformerConfig& config) {
    for (int layer = 0; layer < config.n_layers; ++layer) {
      const moe::LayerConfig& ffn = config.ffn_L[static_cast<std::size_t>(layer)];
      index_L.push_back(ffn.dense() ? -1 : static_cast<int>(ids.size()));
      if (ffn.dense()) continue;
      if (ids.empty()) {
        n_experts = ffn.n_experts();
        slots = moe::router_slots(ffn.router);
      } else if (ffn.n_experts() != n_experts || moe::router_slots(ffn.router) != slots) {
        fail(ErrorKind::kUnsupported,
             "layers with different numbers of experts cannot be inspected");
      }
      ids.push_back(layer);
    }
    if (ids.empty()) {
      fail(ErrorKind::kInvalidArgument,
           "the model is dense: it has no routed experts to inspect (conclave eval measures it)");
    }
  }
};

LabelResult read_label(ops::Context& context, infer::Session& session, const Options& options,
                       const MoeLayers& layers, int label, const train::LabelledTokens& text,
                       inspect::RoutingAnalysis& analysis) {
  std::span<const std::int32_t> ids = text.ids;
  if (options.max_tokens > 0) {
    ids = ids.first(std::min(ids.size(), static_cast<std::size_t>(options.max_tokens) + 1));
  }
  if (ids.size() < 2) {
    fail(ErrorKind::kInvalidArgument,
         "'{}': the text is too short: its tokens are {}, at least 2 are needed", text.label,
         ids.size());
  }
  std::span<const std::int32_t> batch;
  nn::EvaluateOptions evaluate;
  evaluate.window = options.window;
  evaluate.on_batch = [&](std::span<const std::int32_t> ids_T) { batch = ids_T; };
  evaluate.observer = [&](int layer, const moe::RoutingDecision& decision,
                          const moe::DispatchPlan&) {
    analysis.add(label, layers.index_L[static_cast<std::size_t>(layer)], batch, decision);
  };
  evaluate.progress = [](std::int64_t) { return !sys::interrupted(); };
  LabelResult result{nn::evaluate(context, session.transformer(), ids, evaluate), 0};
  for (std::int32_t id : ids.subspan(1)) {  // the first token is given, not predicted
    if (!session.tokenizer().is_special(id)) {
      result.bytes += static_cast<std::int64_t>(session.tokenizer().token_bytes(id).size());
    }
  }
  return result;
}

// The first document that is long enough, cut at a character's end.
std::string prompt_of(const std::string& text) {
  std::size_t begin = 0;
  const std::string separator = {'\n', train::kDocumentSeparator, '\n'};
  while (text.size() - begin > 4 * kPromptBytes) {
    const std::size_t end = text.find(separator, begin);
    if (end == std::string::npos || end - begin > 2 * kPromptBytes) break;
    begin = end + separator.size();
  }
  std::size_t end = std::min(text.size(), begin + kPromptBytes);
  while (end > begin && end < text.size() &&
         (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) {
    --end;
  }
  return text.substr(begin, end - begin);
}

inspect::ReportSample sample(infer::Session& session, const Options& options,
                             const std::string& label, const std::string& text) {
  infer::GenerateOptions generate;
  generate.max_tokens = options.sample_tokens;
  generate.sampling.seed = options.seed;
  std::string prompt = prompt_of(text);
  const auto ids = session.tokenizer().encode(prompt, {.add_special = false});
  const auto room = static_cast<std::size_t>(session.config().max_positions / 2);
  if (ids.size() > room) prompt = session.tokenizer().decode(std::span(ids).first(room));
  return {label, prompt, session.generate(prompt, generate, {}).text};
}

Findings read_all(ops::Context& context, infer::Session& session, const Options& options) {
  Findings findings;
  std::vector<LabelledPath> files;
  for (const std::string& entry : options.data) {
    files.push_back(parse_labelled_path(entry));
    if (files.back().label == "mean") {  // the summary's key for the mean over all labels
      fail(ErrorKind::kInvalidArgument, "'{}': the label 'mean' is reserved: choose another",
           entry);
    }
    auto& labels = findings.labels;
    if (std::find(labels.begin(), labels.end(), files.back().label) == labels.end()) {
      labels.push_back(files.back().label);
    }
  }
  const nn::TransformerConfig& config = session.config();
  const MoeLayers layers(config);
  inspect::RoutingAnalysis analysis(static_cast<int>(layers.ids.size()), layers.n_experts,
                                    layers.slots, findings.labels, config.vocab_size, layers.ids);
  findings.results.resize(findings.labels.size());
  for (const LabelledPath& file : files) {
    const auto found = std::find(findings.labels.begin(), findings.labels.end(), file.label);
    const auto label = static_cast<int>(found - findings.labels.begin());
    const std::string text = io::read_text_file(file.path);
    const train::LabelledTokens tokens =
        train::encode_labelled(session.tokenizer(), file.label, text, config.eos_id);
    std::fprintf(stderr, "reading %s\n", file.path.c_str());
    const LabelResult result =
        read_label(context, session, options, layers, label, tokens, analysis);
    LabelResult& sum = findings.results[static_cast<std::size_t>(label)];
    sum.likelihood.nll += result.likelihood.nll;
    sum.likelihood.tokens += result.likelihood.tokens;
    sum.bytes += result.bytes;
    if (options.samples) findings.samples.push_back(sample(session, options, file.label, text));
  }
  inspect::SummaryOptions summary;
  summary.token_text = [&](std::int32_t id) {
    return std::string(session.tokenizer().token_bytes(id));
  };
  findings.routing = inspect::summarise(analysis, summary);
  return findings;
}

json summary_json(const Options& options, const nn::TransformerConfig& config, const Findings& f) {
  const nn::ParameterCounts counts = nn::count_parameters(config);
  json j = {{"params_total", counts.total}, {"params_active", counts.active}};
  double mean_byte = 0, mean_token = 0;
  for (std::size_t i = 0; i < f.labels.size(); ++i) {
    const LabelResult& r = f.results[i];
    j["heldout_nll_per_byte"][f.labels[i]] = r.per_byte();
    j["heldout_nll_per_token"][f.labels[i]] = r.per_token();
    mean_byte += r.per_byte() / static_cast<double>(f.labels.size());
    mean_token += r.per_token() / static_cast<double>(f.labels.size());
  }
  j["heldout_nll_per_byte"]["mean"] = mean_byte;
  j["heldout_nll_per_token"]["mean"] = mean_token;
  j["maxvio"] = f.routing.max_vio;
  j["dead_experts"] = f.routing.dead_experts;
  json nmi = json::array(), random = json::array(), maxvio = json::array();
  double largest = 0;
  for (const inspect::LayerFigures& layer : f.routing.layers) {
    nmi.push_back(layer.nmi ? json(*layer.nmi) : json(nullptr));
    random.push_back(layer.nmi_random ? json(*layer.nmi_random) : json(nullptr));
    maxvio.push_back(layer.max_vio);
    largest = std::max(largest, layer.nmi.value_or(0));
  }
  j["maxvio_per_layer"] = maxvio;
  j["specialization_nmi"] = {{"per_layer", nmi}, {"max", largest}, {"random_per_layer", random}};
  // Figures of the training run, where the model's directory has them.
  const fs::path figures = fs::path(options.model) / "training.json";
  if (fs::exists(figures)) {
    const json training = io::read_json_file(figures.string());
    for (const char* key : {"train_tokens", "tokens_per_second", "steps"}) {
      if (training.contains(key)) j[key] = training.at(key);
    }
  }
  return j;
}

std::vector<inspect::HistoryPoint> history_points(const std::string& model,
                                                  const MoeLayers& layers) {
  std::vector<inspect::HistoryPoint> points;
  for (const train::HistoryEntry& e :
       train::read_history((fs::path(model) / "history.jsonl").string())) {
    inspect::HistoryPoint p;
    p.step = e.step;
    p.tokens = e.tokens;
    p.loss = e.loss;
    p.heldout_loss = e.heldout_loss;
    p.learning_rate = e.learning_rate;
    p.tokens_per_second = e.tokens_per_second;
    for (int layer : layers.ids) {
      const auto l = static_cast<std::size_t>(layer);
      if (l < e.maxvio_L.size()) p.max_vio_L.push_back(e.maxvio_L[l]);
    }
    points.push_back(std::move(p));
  }
  return points;
}

std::string count_text(double n) {
  if (n >= 1e9) return fmt::format("{:.2f} G", n / 1e9);
  if (n >= 1e6) return fmt::format("{:.2f} M", n / 1e6);
  if (n >= 1e3) return fmt::format("{:.1f} k", n / 1e3);
  return fmt::format("{:.0f}", n);
}

inspect::ReportData report_data(const Options& options, const nn::TransformerConfig& config,
                                const Findings& f, const json& summary) {
  inspect::ReportData data;
  data.title = options.title.empty() ? fs::path(options.model).filename().string() : options.title;
  const MoeLayers layers(config);
  data.subtitle =
      moe::describe_router(config.ffn_L[static_cast<std::size_t>(layers.ids[0])].router);
  const auto number = [&](const char* key) { return count_text(summary.at(key).get<double>()); };
  data.facts.push_back(
      {"Parameters", number("params_total"), number("params_active") + " active a token"});
  if (summary.contains("train_tokens")) {
    data.facts.push_back({"Trained on", number("train_tokens") + " tokens",
                          number("tokens_per_second") + " a second"});
  }
  data.facts.push_back(
      {"Held-out loss",
       fmt::format("{:.3f}", summary["heldout_nll_per_byte"]["mean"].get<double>() / std::log(2.0)),
       "bits a byte, mean of the domains"});
  data.facts.push_back({"Specialisation",
                        fmt::format("{:.2f}", summary["specialization_nmi"]["max"].get<double>()),
                        "NMI of domain and expert, best layer (1: one tells the other)"});
  data.facts.push_back({"Balance", fmt::format("{:.2f}", f.routing.max_vio),
                        "MaxVio, worst layer (0: all experts work alike)"});
  for (std::size_t i = 0; i < f.labels.size(); ++i) {
    const LabelResult& r = f.results[i];
    data.heldout.push_back(
        {f.labels[i], r.likelihood.tokens, r.per_token(), r.per_byte() / std::log(2.0)});
  }
  data.history = history_points(options.model, layers);
  data.routing = f.routing;
  data.samples = f.samples;
  return data;
}

void print_findings(const Findings& f) {
  std::printf("%-16s %10s %12s %12s\n", "domain", "tokens", "nats/token", "bits/byte");
  for (std::size_t i = 0; i < f.labels.size(); ++i) {
    const LabelResult& r = f.results[i];
    std::printf("%-16s %10lld %12.4f %12.4f\n", f.labels[i].c_str(),
                static_cast<long long>(r.likelihood.tokens), r.per_token(),
                r.per_byte() / std::log(2.0));
  }
  std::printf("\n%-6s %8s %8s %8s %6s\n", "layer", "maxvio", "nmi", "chance", "dead");
  for (const inspect::LayerFigures& layer : f.routing.layers) {
    std::printf("%-6d %8.3f %8.3f %8.4f %6zu\n", layer.layer, layer.max_vio, layer.nmi.value_or(0),
                layer.nmi_random.value_or(0), layer.dead_experts.size());
  }
  for (const inspect::ReportSample& s : f.samples) {
    std::printf("\n[%s] %s\n  -> %s\n", s.label.c_str(), s.prompt.c_str(), s.text.c_str());
  }
}

void inspect_model(const Options& options) {
  const sys::InterruptGuard guard;
  ops::Context context = options.machine.context();
  infer::Session session(context, options.model, options.machine.precision(options.model));
  const Findings findings = read_all(context, session, options);
  const json summary = summary_json(options, session.config(), findings);
  const auto dump = [](const json& j) {
    return j.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  };
  print_findings(findings);
  if (!options.routing.empty()) {
    sys::write_file_atomically(options.routing, dump(inspect::routing_json(findings.routing)));
  }
  if (!options.summary.empty()) sys::write_file_atomically(options.summary, dump(summary));
  if (!options.report.empty()) {
    inspect::write_report(options.report,
                          report_data(options, session.config(), findings, summary));
    std::fprintf(stderr, "report: %s\n", options.report.c_str());
  }
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("inspect", "see what the experts of a model do");
  command->add_option("MODEL", o->model, "model directory or GGUF file")->required();
  command->add_option("--data", o->data, "LABEL=FILE of text to read, repeated")->required();
  command->add_option("--out", o->report, "report to write (.html, opens without a network)");
  command->add_option("--json", o->routing, "all routing figures as JSON");
  command->add_option("--summary", o->summary, "headline figures as JSON");
  command->add_option("--title", o->title, "of the report");
  command->add_option("--max-tokens", o->max_tokens, "of each text, 0: all")->capture_default_str();
  command->add_option("--window", o->window, "tokens seen at once (default: the model's context)");
  command->add_flag("--samples", o->samples, "continue the beginning of each text, too");
  command->add_option("--sample-tokens", o->sample_tokens, "length of a sample")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  command->add_option("--seed", o->seed, "of the samples")->capture_default_str();
  o->machine.add_to(*command);
  command->footer(
      "Example:\n"
      "  conclave inspect my-model --data french=fr.txt --data code=main.c --out report.html");
  command->callback([o] { inspect_model(*o); });
}

}  // namespace conclave::cli
