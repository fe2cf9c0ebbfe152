// conclave eval: negative log-likelihood and perplexity of texts.

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/verbs.h"
#include "infer/session.h"
#include "io/text_files.h"
#include "nn/evaluate.h"
#include "sys/interrupt.h"

namespace conclave::cli {
namespace {

struct Options {
  std::string model;
  std::vector<std::string> texts;
  std::int64_t window = 0, max_tokens = 0;
  bool json = false;
  MachineOptions machine;
};

struct Row {
  std::string label;
  nn::Likelihood likelihood;
  double bytes = 0;

  double per_token() const { return likelihood.nll / static_cast<double>(likelihood.tokens); }
  double per_byte() const { return likelihood.nll / bytes; }
  nlohmann::json json() const {
    return {{"label", label},
            {"tokens", likelihood.tokens},
            {"bytes", bytes},
            {"nll_per_token", per_token()},
            {"nll_per_byte", per_byte()},
            {"bits_per_byte", per_byte() / std::log(2.0)},
            {"perplexity", std::exp(per_token())}};
  }
};

Row measure(ops::Context& context, infer::Session& session, const Options& options,
            const LabelledPath& file) {
  const std::string text = io::read_text_file(file.path);
  std::vector<std::int32_t> ids = session.tokenizer().encode(text, {.add_special = false});
  if (options.max_tokens > 0 && static_cast<std::int64_t>(ids.size()) > options.max_tokens + 1) {
    ids.resize(static_cast<std::size_t>(options.max_tokens) + 1);
  }
  if (ids.size() < 2) {
    fail(ErrorKind::kInvalidArgument, "{}: too short: its tokens are {}, at least 2 are needed",
         file.path, ids.size());
  }
  nn::EvaluateOptions evaluate;
  evaluate.window = options.window;
  evaluate.progress = [](std::int64_t) { return !sys::interrupted(); };
  Row row{file.label, nn::evaluate(context, session.transformer(), ids, evaluate), 0};
  // The first token is given, not predicted: its bytes do not count.
  const auto predicted = std::span<const std::int32_t>(ids).subspan(1);
  for (std::int32_t id : predicted) {
    row.bytes += static_cast<double>(session.tokenizer().token_bytes(id).size());
  }
  return row;
}

void eval_model(const Options& options) {
  const sys::InterruptGuard guard;
  ops::Context context = options.machine.context();
  infer::Session session(context, options.model, options.machine.precision(options.model));
  nlohmann::json rows = nlohmann::json::array();
  Row total{"all", {}, 0};
  for (const std::string& text : options.texts) {
    const Row row = measure(context, session, options, parse_labelled_path(text));
    total.likelihood.nll += row.likelihood.nll;
    total.likelihood.tokens += row.likelihood.tokens;
    total.bytes += row.bytes;
    rows.push_back(row.json());
    if (!options.json) {
      std::printf("%-24s %9lld tokens  %.4f nats/token  %.4f nats/byte  perplexity %.3f\n",
                  row.label.c_str(), static_cast<long long>(row.likelihood.tokens), row.per_token(),
                  row.per_byte(), std::exp(row.per_token()));
    }
  }
  if (options.json) {
    const nlohmann::json json = {{"model", options.model}, {"texts", rows}, {"all", total.json()}};
    std::printf("%s\n", json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  } else if (rows.size() > 1) {
    std::printf("%-24s %9lld tokens  %.4f nats/token  %.4f nats/byte  perplexity %.3f\n", "all",
                static_cast<long long>(total.likelihood.tokens), total.per_token(),
                total.per_byte(), std::exp(total.per_token()));
  }
}

}  // namespace

void add_eval(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("eval", "measure how well a model predicts texts");
  command->add_option("MODEL", o->model, "model directory or GGUF file")->required();
  command->add_option("--text", o->texts, "FILE or LABEL=FILE, one or more")->required();
  command->add_option("--window", o->window, "tokens seen at once (default: the model's context)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 24));
  command->add_option("--max-tokens", o->max_tokens, "of each text, 0: all")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 40))
      ->capture_default_str();
  command->add_flag("--json", o->json, "print JSON");
  o->machine.add_to(*command);
  command->footer(
      "Windows follow each other without overlap; every token but the first of a text is "
      "predicted.\n"
      "Example:\n  conclave eval my-model --text french=fr.txt code=main.c --json");
  command->callback([o] { eval_model(*o); });
}

}  // namespace conclave::cli
