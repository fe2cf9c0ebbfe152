// A model as a Hugging Face directory (config.json, safetensors, tokenizer.json,
// generation_config.json) or as a GGUF file. Reading is strict: every weight the recipe asks for
// must be there with its shape, and every tensor in the files must be one the recipe asks for.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "models/stored_rows.h"
#include "nn/transformer.h"
#include "text/tokenizer.h"

namespace conclave::models {

// True for paths that name a GGUF file.
bool is_gguf(const std::string& path);

// The recipe of a directory or GGUF file. Throws Error: kNotFound, kBadFile, kUnsupported.
nn::TransformerConfig read_config(const std::string& path);

// Weights from where the architecture places them in the files of a directory or in a GGUF file.
class FileWeights final : public WeightSource {
 public:
  FileWeights(const std::string& path, const nn::TransformerConfig& config);
  // Throws Error(kNotFound) for the first missing weight, Error(kBadFile) for tensors that no
  // weight uses or whose shape differs, before any is read.
  void check(const std::vector<ParamSpec>& specs) const;
  void read(const ParamSpec& spec, MatrixView<float> out) override;
  std::optional<QuantType> block_type(const ParamSpec& spec) const override;
  void read_blocks(const ParamSpec& spec, std::span<std::byte> out) override;
  const StoredRows& rows() const { return *rows_; }
  // F8 counts as the BF16 that holds its scaled values.
  QuantType stored_type(const ParamSpec& spec) const override;
  // Bytes of all tensors as stored, and their type ("BF16", "Q4_K") or "mixed".
  std::uint64_t stored_bytes() const;
  std::string stored_type() const;

 private:
  TensorPlace place(const ParamSpec& spec) const;
  bool expected_extra(const std::string& name) const;

  std::unique_ptr<StoredRows> rows_;
  bool gguf_;
  nn::TransformerConfig config_;
};

// The type of matrix products that suits weights of a stored type: f32 for "F32", else bf16.
DType natural_compute(std::string_view stored_type);

// The tokenizer of a directory or GGUF file; nothing: it has none.
std::optional<text::Tokenizer> load_tokenizer(const std::string& path);

// The tokens that end an answer: "eos_token_id" of config.json and generation_config.json, or those
// of a GGUF file; sorted.
std::vector<std::int32_t> end_ids(const std::string& path, const nn::TransformerConfig& config);

// What a model multiplies in, and keeps keys and values in: without a value nn::cache_type chooses.
struct Precision {
  DType compute;
  std::optional<ops::KvType> kv;

  Precision(DType compute_type, std::optional<ops::KvType> kv_type = {})
      : compute(compute_type), kv(kv_type) {}
};

// A model ready to run.
struct LoadedModel {
  std::unique_ptr<nn::Transformer> transformer;
  std::optional<text::Tokenizer> tokenizer;  // nothing: the directory has none
  std::vector<std::int32_t> end_ids;         // tokens that end an answer
};
LoadedModel load_model(ops::Context& context, const std::string& path, const Precision& precision);

// Writes config.json, model.safetensors (f32 or bf16) and generation_config.json of a model that
// was loaded for training, as the first architecture that can express it. Throws Error(kIo).
void save_model(const nn::Transformer& transformer, const std::string& directory, DType stored);

}  // namespace conclave::models
