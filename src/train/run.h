// A whole training run as a person sees it: tokenizer, data, progress line, measurements,
// checkpoints, resume, clean interruption, and the finished model as a Hugging Face directory.
//
//   OUT/config.json, model.safetensors, tokenizer.json, generation_config.json   the model
//   OUT/recipe.toml      every key of the run
//   OUT/history.jsonl    one line a logged step
//   OUT/training.json    figures of the run (tokens, speed, held-out loss, parameters)
//   OUT/checkpoints/     step-000123/: the same model files and the training state
#pragma once

#include <string>

#include "io/recipe.h"
#include "ops/context.h"
#include "train/config.h"

namespace conclave::train {

struct RunOptions {
  std::string out;
  bool resume = false;  // go on from the newest valid checkpoint of `out`, if there is one
  bool quiet = false;   // no progress line
};

struct RunResult {
  bool interrupted = false;  // stopped by a signal; a checkpoint was written
  std::int64_t steps = 0;
  std::int64_t tokens = 0;
};

// Throws Error; checkpoints that were committed before stay intact.
RunResult run_training(ops::Context& context, const io::Recipe& recipe, const RunOptions& options);

}  // namespace conclave::train
