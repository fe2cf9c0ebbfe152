// conclave bench: how fast a model reads and writes, beside what the machine can do.

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "cli/verbs.h"
#include "infer/bench.h"
#include "kernels/attention/attention.h"
#include "sys/cpu.h"
#include "sys/interrupt.h"
#include "sys/memory.h"

namespace conclave::cli {
namespace {

using infer::BenchRow;

constexpr double kGiga = 1e9;
constexpr std::size_t kParts = static_cast<std::size_t>(ops::ModelPart::kCount);

constexpr int kMostTokens = 1 << 24;  // more than any model's context

struct Options {
  std::string model;
  infer::BenchPlan plan{{}, {0}, {1}};
  double limit_seconds = 0.5;
  bool json = false;
  MachineOptions machine;
};

// What the rows are held against, and what loading took.
struct Setting {
  sys::Roofline limits;
  infer::Peak peak = {};
  double load_seconds = 0;
  std::int64_t weight_bytes = 0;
  const char* kv_type = "";
};

double share(double part, double whole) { return whole > 0 ? part / whole : 0; }

double part_share(const BenchRow& row, std::size_t part) {
  double all = 0;
  for (const double seconds : row.parts) all += seconds;
  return share(row.parts[part], all);
}

nlohmann::json row_json(const BenchRow& row, const Setting& setting) {
  const double gbps = row.per_second(row.bytes) / kGiga;
  const double gops = row.per_second(row.operations) / kGiga;
  nlohmann::json parts;
  for (std::size_t p = 0; p < kParts; ++p) {
    parts[ops::part_name(static_cast<ops::ModelPart>(p))] = part_share(row, p);
  }
  return {{"test", row.prompt ? "prompt" : "generation"},
          {"tokens", row.tokens},
          {"depth", row.depth},
          {"batch", row.batch},
          {"seconds", row.seconds},
          {"tokens_per_second", row.per_second(row.all_tokens())},
          {"gbps", gbps},
          {"share_of_bandwidth", share(gbps, setting.limits.read_gbps)},
          {"gops", gops},
          {"share_of_peak", share(gops, setting.peak.gops)},
          {"busiest_expert", row.busiest},
          {"share_of_time", parts}};
}

nlohmann::json setting_json(const Options& options, const Setting& setting) {
  const sys::Roofline& limits = setting.limits;
  return {{"model", options.model},
          {"cpu", sys::cpu_model_name()},
          {"instructions", sys::isa_name(sys::best_isa())},
          {"threads", limits.threads},
          {"limits",
           {{"read_gbps", limits.read_gbps},
            {"int8_gops", limits.int8_gops},
            {"bf16_gflops", limits.bf16_gflops},
            {"f32_gflops", limits.f32_gflops}}},
          {"peak_of_products", setting.peak.name},
          {"load_seconds", setting.load_seconds},
          {"weight_bytes", setting.weight_bytes},
          {"kv_type", setting.kv_type}};
}

void print_setting(const Options& options, const Setting& setting) {
  const sys::Roofline& limits = setting.limits;
  std::printf("%s: loaded in %.2f s, %.2f GB of weights, keys and values in %s\n",
              options.model.c_str(), setting.load_seconds,
              static_cast<double>(setting.weight_bytes) / kGiga, setting.kv_type);
  std::printf("%s (%s), threads %d: reads %.1f GB/s; int8 %.0f, bf16 %.0f, f32 %.0f GOP/s\n\n",
              sys::cpu_model_name().c_str(), sys::isa_name(sys::best_isa()), limits.threads,
              limits.read_gbps, limits.int8_gops, limits.bf16_gflops, limits.f32_gflops);
  std::printf("%-16s %6s %6s %10s %19s %7s %5s %7s %5s %7s  ", "test", "batch", "depth", "tokens/s",
              "[slowest, fastest]", "GB/s", "share", "GOP/s", "share", "busiest");
  for (std::size_t p = 0; p < kParts; ++p) {
    std::printf(" %9s", ops::part_name(static_cast<ops::ModelPart>(p)));
  }
  std::printf("\n");
}

void print_row(const BenchRow& row, const Setting& setting) {
  const double gbps = row.per_second(row.bytes) / kGiga;
  const double gops = row.per_second(row.operations) / kGiga;
  const std::string test = (row.prompt ? "prompt " : "generate ") + std::to_string(row.tokens);
  const double tokens = row.all_tokens();
  std::printf("%-16s %6lld %6lld %10.1f [%8.1f,%8.1f] %7.1f %4.0f%% %7.1f %4.0f%% ", test.c_str(),
              static_cast<long long>(row.batch), static_cast<long long>(row.depth),
              row.per_second(tokens), tokens / row.seconds.back(), tokens / row.seconds.front(),
              gbps, 100 * share(gbps, setting.limits.read_gbps), gops,
              100 * share(gops, setting.peak.gops));
  std::printf("%7.1f  ", row.busiest);
  for (std::size_t p = 0; p < kParts; ++p) std::printf(" %8.1f%%", 100 * part_share(row, p));
  std::printf("\n");
  if (std::fflush(stdout) != 0) {  // said before more minutes pass
    fail(ErrorKind::kIo, "cannot write the results: {}", std::strerror(errno));
  }
}

void bench_model(Options options) {
  const sys::InterruptGuard guard;
  ops::Context context = options.machine.context();
  Setting setting;
  setting.limits = sys::measure_roofline(context.pool, options.limit_seconds);
  sys::reset_peak_memory();
  const models::Precision precision = options.machine.precision(options.model);
  const auto begin = std::chrono::steady_clock::now();
  const models::LoadedModel model = models::load_model(context, options.model, precision);
  setting.load_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  setting.peak = infer::peak_of(setting.limits, *model.transformer);
  setting.weight_bytes = model.transformer->weight_bytes();
  setting.kv_type = kernels::kv_type_name(model.transformer->kv_type());
  if (options.plan.prompts.empty()) {
    const std::int64_t most = model.transformer->config().max_positions;
    options.plan.prompts.push_back(std::min<std::int64_t>(512, most));
  }
  infer::check_plan(options.plan, model.transformer->config());
  nlohmann::json rows = nlohmann::json::array();
  // Rows that are measured stay, whatever ends the run.
  const auto print_json = [&](bool complete) {
    nlohmann::json json = setting_json(options, setting);
    json["peak_memory_bytes"] = sys::peak_memory();
    json["complete"] = complete;
    json["rows"] = rows;
    std::printf("%s\n", json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  };
  if (!options.json) print_setting(options, setting);
  try {
    infer::run_bench(context, *model.transformer, options.plan, [&](const BenchRow& row) {
      if (options.json) {
        rows.push_back(row_json(row, setting));
      } else {
        print_row(row, setting);
      }
    });
  } catch (...) {
    if (options.json) print_json(/*complete=*/false);
    throw;
  }
  if (options.json) {
    print_json(/*complete=*/true);
  } else {
    std::printf("\nmost memory resident: %.2f GB\n",
                static_cast<double>(sys::peak_memory()) / kGiga);
  }
}

}  // namespace

void add_bench(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("bench", "measure how fast a model reads and writes");
  command->add_option("MODEL", o->model, "model directory or GGUF file")->required();
  command
      ->add_option("--prompt", o->plan.prompts,
                   "lengths of prompts, separated by commas (default: 512)")
      ->check(CLI::Range(1, kMostTokens))
      ->delimiter(',');
  command->add_option("--generate", o->plan.generate, "tokens to write in each sequence, 0: none")
      ->check(CLI::Range(0, kMostTokens))
      ->capture_default_str();
  command->add_option("--depth", o->plan.depths, "tokens of context before those written")
      ->check(CLI::Range(0, kMostTokens))
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--batch", o->plan.batches, "sequences that write side by side")
      ->check(CLI::Range(1, infer::BenchPlan::kMostBatch))
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--repeat", o->plan.repetitions, "times that each is measured")
      ->check(CLI::Range(1, infer::BenchPlan::kMostRepetitions))
      ->capture_default_str();
  command->add_option("--chunk", o->plan.chunk, "prompt tokens computed together")
      ->check(CLI::Range(1, infer::BenchPlan::kMostChunk))
      ->capture_default_str();
  command->add_option("--limit-seconds", o->limit_seconds, "for measuring the machine's limits")
      ->check(number_between(0.01, 60.0))
      ->capture_default_str();
  command->add_flag("--json", o->json, "print JSON");
  o->machine.add_to(*command);
  command->footer(
      "Tokens are random, nothing is sampled. GB/s counts the weights, keys and values that must\n"
      "be read; GOP/s counts products with weights, two operations a weight and row. Busiest: the\n"
      "tokens of a layer's busiest expert over the mean of its experts, mean of layers. The last\n"
      "columns are shares of the time. Tokens/s count all sequences together. Limits are those of\n"
      "the moment before: where others share the machine, shares can pass 100 %. A run that ends\n"
      "early, once measuring has begun, prints the rows that it has, as JSON too; \"complete\" is\n"
      "then false.\n"
      "Example:\n"
      "  conclave bench my-model.gguf --prompt 64,512 --depth 0,2048 --batch 1,8");
  command->callback([o] { bench_model(*o); });
}

}  // namespace conclave::cli
