#include "models/architecture.h"
#include "models/dbrx.h"
#include "models/deepseek_v2.h"
#include "models/deepseek_v3.h"
#include "models/ernie4_5_moe.h"
#include "models/glm4_moe.h"
#include "models/gpt_oss.h"
#include "models/granitemoe.h"
#include "models/granitemoeshared.h"
#include "models/hunyuan_v1_moe.h"
#include "models/llama.h"
#include "models/llama4.h"
#include "models/mixtral.h"
#include "models/olmoe.h"
#include "models/phimoe.h"
#include "models/qwen2.h"
#include "models/qwen2_moe.h"
#include "models/qwen3.h"
#include "models/qwen3_moe.h"
#include "models/research.h"

namespace conclave::models {

const std::vector<const Architecture*>& registry() {
  static const std::vector<const Architecture*> kAll = {
      &kMixtral,    &kLlama,      &kQwen2,
      &kQwen3,      &kOlmoe,      &kQwen2Moe,
      &kQwen3Moe,   &kGraniteMoe, &kGraniteMoeShared,
      &kDeepseekV2, &kDeepseekV3, &kKimiK2,
      &kGlm4Moe,    &kErnie45Moe, &kHunyuanV1Moe,
      &kGptOss,     &kPhimoe,     &kDbrx,
      &kLlama4Text, &kLlama4,     &kResearch};
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
    reason.clear();
    if (architecture->can_express(config, reason)) return *architecture;
  }
  fail(ErrorKind::kUnsupported, "no architecture's files can hold this model: '{}' says: {}",
       kResearch.model_type, reason);
}

}  // namespace conclave::models
