// What a model is, from its files' heads alone; and the version of this library.

#include <conclave/conclave.h>

#include "api/guard.h"
#include "models/model_files.h"
#include "nn/transformer.h"

namespace conclave {
namespace {

LayerInfo describe_layer(const moe::LayerConfig& ffn) {
  LayerInfo layer;
  layer.n_experts = ffn.n_experts();
  layer.experts_per_token = ffn.router.k;
  layer.expert_width = ffn.d_expert;
  layer.shared_width = ffn.d_shared;
  if (!ffn.dense()) layer.router = moe::describe_router(ffn.router);
  return layer;
}

ModelInfo read(const std::string& directory) {
  const nn::TransformerConfig c = models::read_config(directory);
  const models::FileWeights weights(directory, c);
  weights.check(nn::Transformer(c).specs());
  const nn::ParameterCounts counts = nn::count_parameters(c);
  ModelInfo info;
  info.architecture = c.architecture;
  info.stored_type = weights.stored_type();
  info.params_total = counts.total;
  info.params_active = counts.active;
  info.stored_bytes = static_cast<std::int64_t>(weights.stored_bytes());
  info.vocab_size = c.vocab_size;
  info.context = c.max_positions;
  info.width = c.d_model;
  info.heads = c.n_heads;
  info.kv_heads = c.n_kv_heads;
  info.head_dim = c.head_dim;
  info.bos_id = c.bos_id;
  info.eos_id = c.eos_id;
  for (const moe::LayerConfig& ffn : c.ffn_L) info.layers.push_back(describe_layer(ffn));
  return info;
}

}  // namespace

ModelInfo read_model_info(const std::string& directory) {
  return api::guarded([&] { return read(directory); });
}

const char* version() { return CONCLAVE_VERSION; }

}  // namespace conclave
