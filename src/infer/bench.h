// Measures a loaded model: how fast it reads a prompt and how fast it writes, and what share of the
// machine's limits that is. Tokens are random and nothing is sampled.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "models/model_files.h"
#include "ops/part_clock.h"
#include "sys/roofline.h"

namespace conclave::infer {

struct BenchPlan {
  static constexpr int kMostBatch = 1024, kMostRepetitions = 1000, kMostChunk = 1 << 20;

  // Tokens read, from an empty context.
  std::vector<std::int64_t> prompts;
  std::vector<std::int64_t> depths;   // tokens in the context before writing begins
  std::vector<std::int64_t> batches;  // sequences that write side by side
  std::int64_t generate = 32;         // tokens that each writes; 0: none
  int repetitions = 3;
  std::int64_t chunk = 512;  // prompt tokens computed together
};

// One line of the result. Rates are of the median repetition.
struct BenchRow {
  bool prompt = false;  // reading; else writing
  std::int64_t tokens = 0, depth = 0, batch = 1;
  std::vector<double> seconds;  // of each repetition, ascending
  double bytes = 0;             // of weights, keys and values that a repetition must read
  double operations = 0;        // 2 x the weights multiplied by, times rows; attention not counted
  ops::PartClock::Seconds parts{};  // of all repetitions
  // Tokens of a layer's busiest expert over the mean of its experts, mean of layers, in the last
  // repetition; 0 where no layer has experts to choose from.
  double busiest = 0;

  double median() const;
  double per_second(double amount) const { return amount / median(); }
  double all_tokens() const { return static_cast<double>(tokens * batch); }
};

// Which peak the products of a model are held against: that of their numbers, or of f32 where the
// machine has none for these.
struct Peak {
  const char* name;  // int8, bf16 or f32
  double gops;
};
Peak peak_of(const sys::Roofline& limits, nn::Transformer& transformer);

// Throws Error(kInvalidArgument) where the model's context is too short for the plan or a number is
// out of range; names are those of the options of `conclave bench`.
void check_plan(const BenchPlan& plan, const nn::TransformerConfig& config);

// Runs the plan, one row at a time to `report`. Before each row a short run warms up. Throws what
// check_plan throws, Error(kOutOfMemory) for caches that do not fit, kInterrupted.
void run_bench(ops::Context& context, nn::Transformer& transformer, const BenchPlan& plan,
               const std::function<void(const BenchRow&)>& report);

}  // namespace conclave::infer
