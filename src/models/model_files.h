// A model as a Hugging Face directory: config.json, safetensors, tokenizer.json,
// generation_config.json. Reading is strict: every weight the recipe asks for must be there with
// its shape, and every tensor in the files must be one the recipe asks for.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "models/stored_rows.h"
#include "nn/transformer.h"
#include "text/tokenizer.h"

namespace conclave::models {

// config.json of a directory. Throws Error: kNotFound, kBadFile, kUnsupported.
nn::TransformerConfig read_config(const std::string& directory);

// Weights from the directory's safetensors files, from where the architecture places them.
class FileWeights final : public WeightSource {
 public:
  FileWeights(const std::string& directory, const nn::TransformerConfig& config);
  // Throws Error(kNotFound) for the first missing weight, Error(kBadFile) for tensors that no
  // weight uses or whose shape differs, before any is read.
  void check(const std::vector<ParamSpec>& specs) const;
  void read(const ParamSpec& spec, MatrixView<float> out) override;
  // Bytes of all tensors as stored, and "bf16", "f32" or "mixed".
  std::uint64_t stored_bytes() const;
  std::string stored_type() const;

 private:
  TensorPlace place(const ParamSpec& spec) const;

  SafetensorsRows rows_;
  nn::TransformerConfig config_;
};

// The type of matrix products that suits weights of a stored type: f32 for "F32", else bf16.
DType natural_compute(std::string_view stored_type);

// A model ready to run.
struct LoadedModel {
  std::unique_ptr<nn::Transformer> transformer;
  std::optional<text::Tokenizer> tokenizer;  // nothing: the directory has none
};
LoadedModel load_model(ops::Context& context, const std::string& directory, DType compute);

// Writes config.json, model.safetensors (f32 or bf16) and generation_config.json of a model that
// was loaded for training, as the first architecture that can express it. Throws Error(kIo).
void save_model(const nn::Transformer& transformer, const std::string& directory, DType stored);

}  // namespace conclave::models
