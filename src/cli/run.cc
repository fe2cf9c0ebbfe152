// conclave run: a prompt, a continuation, streamed.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/answer_form.h"
#include "cli/verbs.h"
#include "infer/session.h"
#include "sys/interrupt.h"

namespace conclave::cli {
namespace {

struct Options {
  std::string model, prompt;
  std::vector<std::string> logit_bias;
  infer::GenerateOptions generate;
  AnswerForm form;
  bool json = false, stats = false;
  MachineOptions machine;
};

// "ID=VALUE".
void parse_logit_bias(Options& options) {
  for (const std::string& text : options.logit_bias) {
    int id = 0, used = 0;
    double value = 0;
    const bool read = std::sscanf(text.c_str(), "%d=%lf%n", &id, &value, &used) == 2;
    if (!read || static_cast<std::size_t>(used) != text.size() || id < 0 || !std::isfinite(value)) {
      fail(ErrorKind::kInvalidArgument, "--logit-bias '{}': expected ID=VALUE", text);
    }
    options.generate.sampling.logit_bias[id] = value;
  }
}

nlohmann::json logprobs_json(const infer::Generation& g, const text::Tokenizer& tokenizer) {
  const auto entry = [&](const infer::TokenLogprob& t) {
    return nlohmann::json{
        {"id", t.id}, {"token", std::string(tokenizer.token_bytes(t.id))}, {"logprob", t.logprob}};
  };
  nlohmann::json list = nlohmann::json::array();
  for (const infer::Logprobs& token : g.logprobs) {
    nlohmann::json item = entry(token.chosen);
    item["top"] = nlohmann::json::array();
    for (const infer::TokenLogprob& other : token.top) item["top"].push_back(entry(other));
    list.push_back(std::move(item));
  }
  return list;
}

nlohmann::json to_json(const Options& options, const infer::Generation& g,
                       infer::Session& session) {
  const auto rate = [](double n, double seconds) { return seconds > 0 ? n / seconds : 0.0; };
  nlohmann::json routing =
      nlohmann::json::parse(moe::statistics_json(session.routing(), /*with_coactivation=*/false));
  nlohmann::json json = {
      {"prompt", options.prompt},
      {"text", g.text},
      {"ids", g.ids},
      {"finish_reason", infer::finish_reason_name(g.finish)},
      {"prompt_tokens", g.prompt_tokens},
      {"generated_tokens", g.ids.size()},
      {"prefill_tokens_per_second", rate(static_cast<double>(g.prompt_tokens), g.prefill_seconds)},
      {"decode_tokens_per_second", rate(static_cast<double>(g.ids.size()), g.decode_seconds)},
      {"routing", routing}};
  if (options.generate.logprobs >= 0) json["logprobs"] = logprobs_json(g, session.tokenizer());
  return json;
}

void run_model(Options& options) {
  if (options.prompt == "-") {
    options.prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
  }
  parse_logit_bias(options);
  infer::validate(options.generate.sampling);
  const sys::InterruptGuard guard;
  ops::Context context = options.machine.context();
  infer::Session session(context, options.model, options.machine.precision(options.model));
  session.tokenizer();  // refuses a model without one before anything is printed
  options.form.apply(session, options.generate);
  const bool stream = !options.json;
  bool begun = !stream;
  const auto begin = [&] {  // not before the prompt was accepted
    if (!begun) std::fwrite(options.prompt.data(), 1, options.prompt.size(), stdout);
    begun = true;
  };
  const infer::Generation g =
      session.generate(options.prompt, options.generate, [&](const std::string& piece) {
        if (stream) {
          begin();
          std::fwrite(piece.data(), 1, piece.size(), stdout);
          std::fflush(stdout);
        }
        return !sys::interrupted();
      });
  begin();
  if (stream) {
    std::fputc('\n', stdout);
  } else {
    std::printf("%s\n", to_json(options, g, session)
                            .dump(2, ' ', false, nlohmann::json::error_handler_t::replace)
                            .c_str());
  }
  if (options.stats) {
    std::fprintf(
        stderr, "prompt: %lld tokens in %.2f s; answer: %zu tokens in %.2f s (%.1f a second)\n",
        static_cast<long long>(g.prompt_tokens), g.prefill_seconds, g.ids.size(), g.decode_seconds,
        static_cast<double>(g.ids.size()) / std::max(1e-9, g.decode_seconds));
  }
  if (sys::interrupted()) throw Exit{kExitInterrupted};
}

}  // namespace

void add_run(CLI::App& app) {
  auto o = std::make_shared<Options>();
  infer::SamplingOptions& s = o->generate.sampling;
  CLI::App* command = app.add_subcommand("run", "continue a prompt, streaming tokens");
  command->add_option("MODEL", o->model, "model directory or GGUF file")->required();
  command->add_option("-p,--prompt", o->prompt, "text to continue; - reads standard input");
  command->add_option("-n,--max-tokens", o->generate.max_tokens, "longest answer, in tokens")
      ->check(CLI::Range(std::int64_t{0}, (std::int64_t{1} << 31) - 1))
      ->capture_default_str();
  add_sampling_options(*command, s);
  command->add_option("--typical-p", s.typical_p, "keep the most typical tokens of this mass")
      ->capture_default_str();
  command->add_option("--presence-penalty", s.presence_penalty, "subtracted from seen tokens");
  command->add_option("--frequency-penalty", s.frequency_penalty, "subtracted each time seen");
  command->add_option("--logit-bias", o->logit_bias, "ID=VALUE added to a token's logit, repeated");
  command
      ->add_option("--logprobs", o->generate.logprobs,
                   "with --json: log-probabilities of each token and of this many best ones")
      ->check(CLI::Range(0, 1000));
  command->add_option("--stop", o->generate.stop,
                      "text that ends the answer, taken as it is, repeated");
  o->form.add_to(*command);
  command->add_flag("--ignore-eos", o->generate.ignore_eos, "do not stop at the end-of-text token");
  command->add_flag("--json", o->json, "print one JSON object with text, ids, speed and routing");
  command->add_flag("--stats", o->stats, "print speed to standard error");
  o->machine.add_to(*command);
  command->footer(
      "Examples:\n"
      "  conclave run my-model --prompt \"It was a dark\" --max-tokens 100\n"
      "  conclave run my-model -p \"def main\" --temperature 0 --stop $'\\n\\n'\n"
      "  echo \"Dear Sir\" | conclave run my-model -p - --json");
  command->callback([o] { run_model(*o); });
}

}  // namespace conclave::cli
