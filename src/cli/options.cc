#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "cli/verbs.h"
#include "kernels/attention/attention.h"
#include "models/model_files.h"
#include "sys/thread_pool.h"

namespace conclave::cli {

CLI::Validator number_between(double least, double most) {
  const CLI::Range range(least, most);
  return CLI::Validator(
      [range](std::string& text) {
        return std::isnan(std::strtod(text.c_str(), nullptr)) ? text + " is no number"
                                                              : range(text);
      },
      range.get_description());
}

void MachineOptions::add_to(CLI::App& command, bool with_dtype) {
  command
      .add_option("--threads", threads,
                  "threads (default: one a physical core, or as many as the control group allows)")
      ->check(CLI::Range(std::int64_t{0}, kMostThreads));
  command.add_flag("--pin,!--no-pin", pin,
                   "bind each thread but the first to a physical core of its own");
  if (with_dtype) {
    command.add_option("--dtype", dtype, "type of the matrix products: auto, f32, bf16")
        ->check(CLI::IsMember(kDtypes))
        ->capture_default_str();
    command
        .add_option(
            "--kv-type", kv_type,
            "of cached keys and values: auto, f32, f16, q8_0 (about half the memory of f16)")
        ->check(CLI::IsMember(kKvTypes))
        ->capture_default_str();
  }
}

ops::Context MachineOptions::context() const {
  return ops::Context(threads > 0 ? static_cast<int>(threads) : sys::default_thread_count(),
                      pin ? sys::Pinning::kCores : sys::Pinning::kNone);
}

models::Precision MachineOptions::precision(const std::string& model_directory) const {
  std::optional<ops::KvType> kv;
  for (const ops::KvType type : kernels::kKvTypes) {
    if (kv_type == kernels::kv_type_name(type)) kv = type;
  }
  if (dtype == "f32") return {DType::kF32, kv};
  if (dtype == "bf16") return {DType::kBF16, kv};
  const models::FileWeights weights(model_directory, models::read_config(model_directory));
  return {models::natural_compute(weights.stored_type()), kv};
}

void add_sampling_options(CLI::App& command, infer::SamplingOptions& sampling) {
  command
      .add_option("--temperature", sampling.temperature, "0 always takes the most probable token")
      ->capture_default_str();
  command.add_option("--top-k", sampling.top_k, "choose among the k best, 0: all")
      ->capture_default_str();
  command.add_option("--top-p", sampling.top_p, "choose among the best that have this mass")
      ->capture_default_str();
  command.add_option("--min-p", sampling.min_p, "drop tokens below this share of the best")
      ->capture_default_str();
  command.add_option("--repeat-penalty", sampling.repeat_penalty, "above 1 avoids repetition")
      ->capture_default_str();
  command.add_option("--seed", sampling.seed, "of the random choices")->capture_default_str();
}

LabelledPath parse_labelled_path(const std::string& text) {
  const auto equals = text.find('=');
  if (equals == std::string::npos) return {std::filesystem::path(text).filename().string(), text};
  if (equals == 0 || equals + 1 == text.size()) {
    fail(ErrorKind::kInvalidArgument, "'{}': expected LABEL=FILE", text);
  }
  return {text.substr(0, equals), text.substr(equals + 1)};
}

}  // namespace conclave::cli
