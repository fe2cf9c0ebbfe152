// What a training run is: read from a commented TOML recipe, checked, and kept in every checkpoint.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/recipe.h"
#include "nn/config.h"

namespace conclave::train {

// "label=path": text of one domain.
struct LabelledFile {
  std::string label;
  std::string path;
};

enum class Schedule { kCosine, kLinear, kWsd };

struct OptimizerConfig {
  double learning_rate = 0;  // peak
  double final_ratio = 0;    // last / peak
  std::int64_t warmup_steps = 0;
  Schedule schedule = Schedule::kCosine;
  double wsd_decay = 0;  // share of the steps in which WSD decays
  double beta1 = 0, beta2 = 0, epsilon = 0;
  double weight_decay = 0;
  double clip = 0;  // largest gradient norm, 0: no clipping
};

struct TrainConfig {
  nn::TransformerConfig model;  // vocab_size is set from the tokenizer
  std::vector<LabelledFile> train, heldout;
  std::string tokenizer;  // a tokenizer.json to use; empty: learn one
  int vocab_size = 0;     // of a tokenizer to be learnt

  std::int64_t steps = 0;  // optimiser steps; 0: as many as fit into `minutes`
  double minutes = 0;
  int sequence = 0;     // tokens a sequence
  int batch = 0;        // sequences a step
  int micro_batch = 0;  // sequences that are computed together; divides batch
  DType compute = DType::kBF16;
  bool recompute = false;
  std::uint64_t seed = 0;
  double init_std = 0, router_init_std = 0;

  OptimizerConfig optimizer;
  moe::LossCoefficients losses;
  double bias_rate = 0;  // loss-free balancing, sigmoid_bias

  std::int64_t eval_every = 0;         // steps, 0: only at the end
  std::int64_t eval_tokens = 0;        // of each held-out file while training
  std::int64_t final_eval_tokens = 0;  // of each held-out file at the end, 0: all
  std::int64_t checkpoint_every = 0;
  int keep_checkpoints = 0;
  std::int64_t log_every = 0;
};

// Every key of a training recipe with type, default, range and help.
std::vector<io::RecipeKey> recipe_table();

// Throws Error(kInvalidArgument) naming file, line and key of what makes no sense.
TrainConfig make_config(const io::Recipe& recipe);

// Splits "label=path"; throws Error(kInvalidArgument).
LabelledFile parse_labelled_file(const std::string& text);

}  // namespace conclave::train
