#include "models/architecture.h"
#include "models/llama.h"
#include "models/mixtral.h"
#include "models/research.h"

namespace conclave::models {

const std::vector<const Architecture*>& registry() {
  static const std::vector<const Architecture*> kAll = {&kMixtral, &kLlama, &kResearch};
  return kAll;
}

const Architecture& find_architecture(const std::string& model_type) {
  std::string known;
  for (const Architecture* architecture : registry()) {
    if (model_type == architecture->model_type) return *architecture;
    known += (known.empty() ? "" : ", ") + std::string(architecture->model_type);
  }
  fail(ErrorKind::kUnsupported, "model_type '{}' is not supported; supported are {}", model_type,
       known);
}

const Architecture& architecture_for(const nn::TransformerConfig& config) {
  std::string reason;
  for (const Architecture* architecture : registry()) {
    if (architecture->can_express(config, reason)) return *architecture;
  }
  CONCLAVE_CHECK(false, "the research type expresses every recipe");
}

}  // namespace conclave::models
