// An architecture as the world's files describe it: its config.json keys, its tensor names, its
// block recipe. One file each; the registry is the only list. No other code knows their names.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/json.h"
#include "models/tensor_place.h"
#include "nn/config.h"
#include "tensor/parameters.h"

namespace conclave::models {

// What a file holds, for architectures that are stored in more than one way.
class StoredNames {
 public:
  virtual ~StoredNames() = default;
  virtual bool has(const std::string& name) const = 0;
};

// Of no file: for the form that the architecture itself writes.
class NoNames final : public StoredNames {
 public:
  bool has(const std::string&) const override { return false; }
};

struct GgufForm;  // models/gguf_form.h

struct Architecture {
  const char* model_type;   // config.json's "model_type"
  const char* class_name;   // config.json's "architectures": the class of the reference library
  const char* description;  // one line for people

  // Block recipe from config.json. Every key must be one that is honoured or known to change
  // nothing in the mathematics of inference; else Error(kUnsupported) names it.
  nn::TransformerConfig (*parse)(const io::JsonView& config);
  // The inverse: the keys that belong to this architecture.
  nlohmann::json (*write)(const nn::TransformerConfig& config);
  // Whether this architecture can express the recipe; says why not in `reason`.
  bool (*can_express)(const nn::TransformerConfig& config, std::string& reason);
  // Where a weight is stored in the safetensors files that hold `names`.
  TensorPlace (*place)(const ParamSpec& spec, const nn::TransformerConfig& config,
                       const StoredNames& names);
  // Tensors of released files that inference does not use (layers that predict further tokens);
  // null: none.
  bool (*ignores)(const std::string& name, const nn::TransformerConfig& config) = nullptr;
  // How GGUF files say the same; null: they do not.
  const GgufForm* gguf = nullptr;
};

// All architectures, most specific first: a trained model is saved as the first that can express
// it.
const std::vector<const Architecture*>& registry();

// By model_type; Error(kUnsupported) lists the known ones.
const Architecture& find_architecture(const std::string& model_type);
// The first that can express the recipe (the research type expresses all).
const Architecture& architecture_for(const nn::TransformerConfig& config);

}  // namespace conclave::models
