// GGUF files (io/gguf.h) of the architectures of the registry. Their keys and tensor names are
// nearly the same for all (ggml-org/llama.cpp, src/llama-arch.cpp; docs of the format): this file
// reads and writes those, and a GgufForm says what an architecture does differently.
#pragma once

#include <string>
#include <vector>

#include "io/gguf.h"
#include "models/architecture.h"
#include "models/stored_rows.h"
#include "nn/config.h"

namespace conclave::models {

// "ARCH.KEY" of one file.
class GgufKeys {
 public:
  GgufKeys(const io::GgufSource& source, std::string arch)
      : source_(source), arch_(std::move(arch)) {}
  const io::GgufSource& source() const { return source_; }
  const io::GgufMetadata& metadata() const { return source_.metadata(); }
  std::string key(std::string_view name) const { return arch_ + "." + std::string(name); }
  bool has(std::string_view name) const { return metadata().has(key(name)); }
  int integer(std::string_view name, std::int64_t min, std::int64_t max) const;
  int integer(std::string_view name, std::int64_t min, std::int64_t max, std::int64_t absent) const;
  double number(std::string_view name, double min, double max, double absent) const;
  bool boolean(std::string_view name, bool absent) const;
  // One flag a layer; nothing: the key is absent. Throws where there are fewer than n_layers.
  std::vector<bool> flags(std::string_view name, int n_layers) const;
  // A key that is one number, or a list with one a layer.
  int of_layer(std::string_view name, int layer, std::int64_t min, std::int64_t max) const;
  // A key that is one number, or a list of equal numbers, one a layer.
  int same_in_all_layers(std::string_view name, std::int64_t min, std::int64_t max,
                         std::int64_t absent) const;
  bool has_tensor(const std::string& name) const { return source_.find(name) != nullptr; }

 private:
  const io::GgufSource& source_;
  std::string arch_;
};

struct GgufForm {
  const char* arch;        // "general.architecture"
  bool pairs = false;      // rotary pairs are stored as neighbours (rope type "norm")
  bool fused_qkv = false;  // q, k and v are written as rows of one tensor
  // Whether a file with this arch is of this architecture, where several share the name.
  bool (*accepts)(const GgufKeys& keys) = nullptr;
  // The tensor of a role within its layer ("post_attention_norm.weight") where it is not the usual
  // one; returns null for the usual ones.
  const char* (*name)(Role role) = nullptr;
  // The router as files that say nothing about it mean it.
  moe::RouterConfig (*router)() = nullptr;
  // Sets what the usual keys and tensors do not say. Keys of our own, which other programs pass
  // over, are read afterwards and win.
  void (*read)(const GgufKeys& keys, nn::TransformerConfig& config) = nullptr;
  // Adds keys that other programs ask for.
  void (*write)(const nn::TransformerConfig& config, io::GgufMetadata& metadata) = nullptr;
};

// Throws Error(kUnsupported) where an architecture has no GGUF form.
const GgufForm& gguf_form_of(const std::string& model_type);

// The architecture of a file. Throws Error(kUnsupported) listing the known ones.
const Architecture& gguf_architecture(const io::GgufSource& source);
// The recipe. Throws Error: kBadFile, kUnsupported.
nn::TransformerConfig config_from_gguf(const io::GgufSource& source);
// Where a weight lies.
TensorPlace gguf_place(const ParamSpec& spec, const nn::TransformerConfig& config,
                       const StoredNames& names);
// True for tensors that are part of the recipe and not weights (factors of rotary frequencies).
bool is_gguf_constant(const std::string& name);

// The keys of a recipe, without tokenizer and general ones; and the constants as tensors.
io::GgufMetadata gguf_metadata(const nn::TransformerConfig& config);
struct GgufConstant {
  std::string name;
  std::vector<float> values;
};
std::vector<GgufConstant> gguf_constants(const nn::TransformerConfig& config);

// Every other layer, beginning with the first: windows where the file does not list them.
void alternate_windows(nn::TransformerConfig& config);

// Routers that several forms mean: softmax top-k without renormalising, and sigmoid with a bias
// where groups that are not chosen score 0.
moe::RouterConfig gguf_plain_softmax();
moe::RouterConfig gguf_grouped_sigmoid();

// A file's tensors as rows.
class GgufRows final : public StoredRows {
 public:
  explicit GgufRows(const std::string& path) : source_(path) {}
  const io::GgufSource& source() const { return source_; }

  const std::string& path() const override { return source_.path(); }
  bool has(const std::string& name) const override { return source_.find(name) != nullptr; }
  void check(const TensorPlace& place, const ParamSpec& spec,
             std::set<std::string>& used) const override;
  std::vector<std::string> names() const override;
  std::uint64_t stored_bytes() const override;
  // Of the matrices: vectors are F32 in all files.
  std::set<std::string> stored_types() const override;
  QuantType stored_type(const TensorPlace& place) const override;
  void read_rows(const TensorPlace& place, std::int64_t first,
                 MatrixView<float> out) const override;
  std::optional<QuantType> block_type(const TensorPlace& place) const override;
  void read_blocks(const TensorPlace& place, std::int64_t first, std::int64_t count,
                   std::span<std::byte> out) const override;

 private:
  io::GgufSource source_;
};

}  // namespace conclave::models
