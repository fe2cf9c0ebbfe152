// conclave convert and quantize: the same model in another form, or with smaller weights.

#include <unistd.h>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/verbs.h"
#include "infer/session.h"
#include "io/text_files.h"
#include "models/convert.h"
#include "nn/evaluate.h"
#include "sys/files.h"
#include "sys/interrupt.h"

namespace conclave::cli {
namespace {

struct Options {
  std::string in, out, type, experts, shared, attention, embeddings, text;
  double shard_gb = 0;
  std::int64_t max_tokens = 0;
  bool json = false, force = false;
  MachineOptions machine;
};

std::optional<QuantType> parse_type(const std::string& name) {
  if (name.empty()) return {};
  const std::optional<QuantType> type = parse_quant_type(name);
  if (!type || !quant_info(*type).can_encode) {
    std::string known;
    for (int i = 0; i < kQuantTypeCount; ++i) {
      const QuantInfo& info = quant_info(static_cast<QuantType>(i));
      if (info.can_encode) known += (known.empty() ? "" : ", ") + std::string(info.name);
    }
    fail(ErrorKind::kInvalidArgument, "type '{}': expected one of {}", name, known);
  }
  return type;
}

// Embeddings and the output head suffer most from few bits and are small beside the experts.
QuantType embedding_type(QuantType type) { return quant_bits(type) < 6 ? QuantType::kQ6_K : type; }

models::TypePolicy policy(const Options& o) {
  models::TypePolicy types;
  if (const auto all = parse_type(o.type)) {
    types = models::TypePolicy::all(*all);
    types.embeddings = embedding_type(*all);
  }
  const auto set = [](std::optional<QuantType>& type, const std::string& name) {
    if (const auto chosen = parse_type(name)) type = chosen;
  };
  set(types.experts, o.experts);
  set(types.shared, o.shared);
  set(types.attention, o.attention);
  set(types.embeddings, o.embeddings);
  return types;
}

bool show_progress(std::size_t done, std::size_t total, const std::string& name) {
  if (isatty(STDERR_FILENO) != 0) {
    std::fprintf(stderr, "\r\033[K%3zu %% %s", 100 * done / std::max<std::size_t>(1, total),
                 name.c_str());
  }
  return !sys::interrupted();
}

double perplexity(const Options& o, const std::string& model) {
  ops::Context context = o.machine.context();
  infer::Session session(context, model, o.machine.precision(model));
  std::vector<std::int32_t> ids =
      session.tokenizer().encode(io::read_text_file(o.text), {.add_special = false});
  const auto most = static_cast<std::size_t>(o.max_tokens) + 1;
  if (o.max_tokens > 0 && ids.size() > most) ids.resize(most);
  nn::EvaluateOptions evaluate;
  evaluate.window = std::min<std::int64_t>(2048, session.config().max_positions);
  evaluate.progress = [](std::int64_t) { return !sys::interrupted(); };
  const nn::Likelihood found = nn::evaluate(context, session.transformer(), ids, evaluate);
  return std::exp(found.nll / static_cast<double>(found.tokens));
}

nlohmann::json report_json(const models::ConvertReport& report) {
  nlohmann::json tensors = nlohmann::json::array();
  for (const models::ConvertedTensor& t : report.tensors) {
    tensors.push_back({{"name", t.name},
                       {"from", t.from},
                       {"to", t.to},
                       {"bytes", t.bytes},
                       {"relative_error", t.relative_error},
                       {"fallback", t.fallback}});
  }
  return {{"files", report.files},
          {"bytes", report.bytes},
          {"tensors", tensors},
          {"warnings", report.warnings}};
}

void print(const models::ConvertReport& report, bool errors) {
  if (errors) {
    for (const models::ConvertedTensor& t : report.tensors) {
      if (t.relative_error == 0 && !t.fallback) continue;
      std::printf("%-40s %-6s -> %-6s  relative error %.5f%s\n", t.name.c_str(), t.from.c_str(),
                  t.to.c_str(), t.relative_error,
                  t.fallback ? "  (rows are not whole blocks of the type asked for)" : "");
    }
  }
  std::printf("%.1f MB in %zu file%s: %s%s\n", static_cast<double>(report.bytes) / 1e6,
              report.files.size(), report.files.size() == 1 ? "" : "s",
              report.files.empty() ? "" : report.files.front().c_str(),
              report.files.size() > 1 ? ", ..." : "");
}

// What is there already stays, unless --force was given: it may be another model.
void refuse_to_overwrite(const Options& o) {
  namespace fs = std::filesystem;
  if (o.force) return;
  const fs::path out(o.out);
  std::string found;
  if (fs::exists(out) && !fs::is_empty(out)) found = o.out;
  const std::string first_shard = out.stem().string() + "-00001-of-";
  const std::string folder = sys::parent_path(o.out);
  if (found.empty() && o.shard_gb > 0 && models::is_gguf(o.out) && fs::is_directory(folder)) {
    for (const std::string& name : sys::list_directory(folder)) {
      if (name.starts_with(first_shard)) found = sys::join_path(folder, name);
    }
  }
  if (!found.empty()) {
    fail(ErrorKind::kInvalidArgument,
         "{}: exists already: choose another name, or overwrite it with --force", found);
  }
}

void convert(const Options& o, bool quantise) {
  const sys::InterruptGuard guard;
  std::error_code ignored;
  if (std::filesystem::equivalent(o.in, o.out, ignored)) {
    fail(ErrorKind::kInvalidArgument, "{}: input and output are the same", o.in);
  }
  models::ConvertOptions options;
  options.types = policy(o);
  options.max_shard_bytes = static_cast<std::uint64_t>(o.shard_gb * 1e9);
  options.progress = show_progress;
  ops::Context context = o.machine.context();
  const bool gguf = models::is_gguf(o.out);
  if (quantise && !gguf) {
    fail(ErrorKind::kInvalidArgument, "{}: quantised models are GGUF files: name it NAME.gguf",
         o.out);
  }
  if (!gguf && std::filesystem::exists(o.out) && !std::filesystem::is_directory(o.out)) {
    fail(ErrorKind::kInvalidArgument, "{}: is a file: OUT is a directory to make, or NAME.gguf",
         o.out);
  }
  refuse_to_overwrite(o);
  if (!o.text.empty()) io::read_text_file(o.text);  // an error now, not after the work
  const models::ConvertReport report =
      gguf ? models::convert_to_gguf(context, o.in, o.out, options)
           : models::convert_to_directory(context, o.in, o.out, options);
  if (isatty(STDERR_FILENO) != 0) std::fputs("\r\033[K", stderr);
  for (const std::string& warning : report.warnings) {
    std::fprintf(stderr, "conclave: warning: %s\n", warning.c_str());
  }
  nlohmann::json json = report_json(report);
  if (!o.json) print(report, quantise);
  if (!o.text.empty()) {
    const double before = perplexity(o, o.in);
    const double after = perplexity(o, report.files.front());
    json["perplexity"] = {{"before", before}, {"after", after}};
    if (!o.json)
      std::printf("perplexity %.4f -> %.4f (%+.2f %%)\n", before, after,
                  100 * (after / before - 1));
  }
  if (o.json) std::printf("%s\n", json.dump(2).c_str());
  if (sys::interrupted()) throw Exit{kExitInterrupted};
}

void add_common(CLI::App& command, Options& o) {
  command.add_option("IN", o.in, "model directory or GGUF file")->required();
  command.add_option("--experts", o.experts, "type of the routed experts");
  command.add_option("--shared", o.shared, "type of shared experts");
  command.add_option("--attention", o.attention, "type of attention's matrices");
  command.add_option("--embeddings", o.embeddings, "type of embedding and output head");
  command.add_option("--shard-gb", o.shard_gb, "split into files of this size")
      ->check(number_between(0.0, 1e6));
  command.add_flag("--force", o.force, "overwrite OUT where it exists");
  command.add_flag("--json", o.json, "print a report as JSON");
}

}  // namespace

void add_convert(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("convert", "write a model as GGUF file or Hugging Face directory");
  add_common(*command, *o);
  command->add_option("OUT", o->out, "NAME.gguf, or a directory to make")->required();
  command->add_option("--type", o->type, "type of all matrices (default: as they are stored)");
  o->machine.add_to(*command, /*with_dtype=*/false);
  command->footer(
      "Examples:\n"
      "  conclave convert my-model my-model.gguf\n"
      "  conclave convert big.gguf big-directory --type BF16");
  command->callback([o] { convert(*o, false); });
}

void add_quantize(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("quantize", "write a model with smaller weights");
  add_common(*command, *o);
  command->add_option("OUT", o->out, "NAME.gguf")->required();
  command
      ->add_option("--type", o->type,
                   "F32, F16, BF16, Q8_0, Q6_K, Q5_K, Q4_K, Q4_0, MXFP4; the router stays F32")
      ->required();
  command->add_option("--text", o->text, "also measure the change of perplexity on this text");
  command->add_option("--max-tokens", o->max_tokens, "of the text, 0: all")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 40));
  o->machine.add_to(*command);
  command->footer(
      "Examples:\n"
      "  conclave quantize my-model my-model-q4.gguf --type Q4_K\n"
      "  conclave quantize my-model small.gguf --type Q4_0 --attention Q8_0 --text held-out.txt");
  command->callback([o] { convert(*o, true); });
}

}  // namespace conclave::cli
