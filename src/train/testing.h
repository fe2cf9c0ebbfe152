// A tiny training run for tests: random words of two "languages", a model of a few thousand
// weights, a few steps.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "io/recipe.h"
#include "train/config.h"
#include "train/trainer.h"

namespace conclave::train::testing {

// A fresh folder that is removed with the object.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  std::string path(const std::string& name = "") const { return (root_ / name).string(); }

 private:
  std::filesystem::path root_;
};

// Writes label.txt files of made-up words into `folder`; returns "label=path" entries.
std::vector<std::string> write_texts(const TemporaryFolder& folder);

// The tiny recipe over those texts; further keys are set by the caller.
io::Recipe tiny_recipe(const TemporaryFolder& folder);

// A trainer as run_training makes it, with a tokenizer of single bytes.
std::unique_ptr<Trainer> tiny_trainer(ops::Context& context, const io::Recipe& recipe);

}  // namespace conclave::train::testing
