// From one form of a model to another: Hugging Face directories and GGUF files, with any type of
// weights. One tensor is in memory at a time.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "models/model_files.h"
#include "tensor/quant_types.h"

namespace conclave::models {

// The type in which each kind of matrix is written; nothing: as it is stored now. Routers, norms,
// biases and other vectors are always F32.
struct TypePolicy {
  std::optional<QuantType> experts;  // routed experts, and the FFN of dense layers
  std::optional<QuantType> shared;   // shared experts
  std::optional<QuantType> attention;
  std::optional<QuantType> embeddings;  // embedding and output head
  static TypePolicy all(QuantType type) { return {type, type, type, type}; }
};

// One matrix as it was written.
struct ConvertedTensor {
  std::string name;
  std::string from, to;       // types
  std::uint64_t bytes = 0;    // written
  double relative_error = 0;  // root of sum (new - old)^2 / sum old^2; 0 where nothing was rounded
  bool fallback = false;      // rows are not whole blocks of the type asked for
};

struct ConvertReport {
  std::vector<std::string> files;
  std::vector<ConvertedTensor> tensors;
  std::uint64_t bytes = 0;
  std::vector<std::string> warnings;  // what was not carried over, a sentence each
};

struct ConvertOptions {
  TypePolicy types;
  std::uint64_t max_shard_bytes = 0;  // GGUF: 0 is one file; directories: 0 is 5 GB
  // Called with each tensor before it is written; false stops with Error(kInterrupted).
  std::function<bool(std::size_t done, std::size_t total, const std::string& name)> progress;
};

// Throws Error: what reading throws, kUnsupported where `out` cannot hold the model, kIo. Nothing
// is left at `out` after an error.
ConvertReport convert_to_gguf(ops::Context& context, const std::string& in, const std::string& out,
                              const ConvertOptions& options);
// `out` is a directory that is made; weights are F32, F16 or BF16 (nothing: as stored, quantised
// ones as BF16).
ConvertReport convert_to_directory(ops::Context& context, const std::string& in,
                                   const std::string& out, const ConvertOptions& options);

}  // namespace conclave::models
