// conclave train: a recipe, a run, a model.

#include <cstdio>
#include <filesystem>

#include "cli/verbs.h"
#include "io/recipe.h"
#include "train/run.h"

namespace conclave::cli {
namespace {

struct Options {
  std::vector<std::string> recipes;
  std::string out;
  std::vector<std::string> set;
  std::vector<std::string> data, heldout;
  bool resume = false, quiet = false, keys = false;
  MachineOptions machine;
};

std::string toml_list(const std::vector<std::string>& values) {
  std::string text = "[";
  for (const std::string& value : values) {
    text += text.size() > 1 ? ", \"" : "\"";
    for (const char c : value) {
      if (c == '"' || c == '\\') text += '\\';
      text += c;
    }
    text += '"';
  }
  return text + "]";
}

void print_keys() {
  const io::Recipe recipe(train::recipe_table());
  std::fputs(recipe.to_toml().c_str(), stdout);
}

void train_model(const Options& options) {
  if (options.keys) return print_keys();
  if (options.out.empty()) fail(ErrorKind::kInvalidArgument, "--out DIR is needed");
  io::Recipe recipe(train::recipe_table());
  std::vector<std::string> files = options.recipes;
  const auto earlier = std::filesystem::path(options.out) / "recipe.toml";
  if (files.empty() && options.resume && std::filesystem::exists(earlier)) {
    files.push_back(earlier.string());
  }
  for (const std::string& file : files) recipe.load_file(file);
  if (!options.data.empty()) recipe.set("data.train=" + toml_list(options.data));
  if (!options.heldout.empty()) recipe.set("data.heldout=" + toml_list(options.heldout));
  for (const std::string& assignment : options.set) recipe.set(assignment);

  ops::Context context = options.machine.context();
  train::RunOptions run;
  run.out = options.out;
  run.resume = options.resume;
  run.quiet = options.quiet;
  const train::RunResult result = train::run_training(context, recipe, run);
  if (result.interrupted) {
    std::fprintf(stderr, "stopped at step %lld; go on with: conclave train --resume --out %s\n",
                 static_cast<long long>(result.steps), options.out.c_str());
    throw Exit{kExitInterrupted};
  }
  std::fprintf(stderr, "the model is in %s; try: conclave run %s --prompt \"...\"\n",
               options.out.c_str(), options.out.c_str());
}

}  // namespace

void add_train(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("train", "train a model on text");
  command->add_option("RECIPE", options->recipes,
                      "TOML recipes, later ones override; see recipes/ and --keys");
  command->add_option("--out", options->out, "directory of the model; made if it does not exist");
  command->add_option("--data", options->data, "LABEL=FILE of text to learn from, repeated");
  command->add_option("--heldout", options->heldout,
                      "LABEL=FILE of text to measure with, repeated");
  command->add_option("--set", options->set, "KEY=VALUE, overrides a key of the recipe, repeated");
  command->add_flag("--resume", options->resume, "go on from the newest checkpoint in --out");
  command->add_flag("--quiet", options->quiet, "no progress line");
  command->add_flag("--keys", options->keys,
                    "print every recipe key with default and help, and stop");
  options->machine.add_to(*command, /*with_dtype=*/false);
  command->footer(
      "Ctrl-C ends the run with a usable checkpoint; --resume goes on with the same bits.\n"
      "Examples:\n"
      "  conclave train recipes/demo.toml --out my-model\n"
      "  conclave train --out tiny --data en=novel.txt --set model.experts=8 --set "
      "train.steps=200\n"
      "  conclave train --resume --out my-model");
  command->callback([options] { train_model(*options); });
}

}  // namespace conclave::cli
