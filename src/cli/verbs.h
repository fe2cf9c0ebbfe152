// One function a verb: it adds a subcommand whose callback does the work and throws Error.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "infer/sampler.h"
#include "models/model_files.h"

namespace conclave::cli {

void add_train(CLI::App& app);
void add_run(CLI::App& app);
void add_eval(CLI::App& app);
void add_inspect(CLI::App& app);
void add_info(CLI::App& app);
void add_logits(CLI::App& app);
void add_tokenize(CLI::App& app);
void add_chat(CLI::App& app);
void add_template(CLI::App& app);
void add_convert(CLI::App& app);
void add_quantize(CLI::App& app);
void add_serve(CLI::App& app);
void add_bench(CLI::App& app);
void add_completion(CLI::App& app);

// Exit codes of the program.
inline constexpr int kExitError = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;

// Thrown by a verb that ends early on purpose, with the code to exit with and nothing to print.
struct Exit {
  int code;
};

// As CLI::Range, which takes "nan" for a number in any range.
CLI::Validator number_between(double least, double most);

// Options that several verbs share.
struct MachineOptions {
  std::int64_t threads = 0;  // 0: sys::default_thread_count()
  bool pin = false;
  std::string dtype = "auto";    // one of kDtypes
  std::string kv_type = "auto";  // one of kKvTypes

  static constexpr std::int64_t kMostThreads = 4096;
  inline static const std::vector<std::string> kDtypes = {"auto", "f32", "bf16"};
  inline static const std::vector<std::string> kKvTypes = {"auto", "f32", "f16", "q8_0"};

  void add_to(CLI::App& command, bool with_dtype = true);
  ops::Context context() const;
  // "auto" is what the model's files hold: f32 for f32 weights, else bf16.
  models::Precision precision(const std::string& model_directory) const;
};

// --temperature, --top-k, --top-p, --min-p, --repeat-penalty and --seed.
void add_sampling_options(CLI::App& command, infer::SamplingOptions& sampling);

// "LABEL=FILE", repeated or listed; a bare FILE is labelled with its name.
struct LabelledPath {
  std::string label;
  std::string path;
};
LabelledPath parse_labelled_path(const std::string& text);

}  // namespace conclave::cli
