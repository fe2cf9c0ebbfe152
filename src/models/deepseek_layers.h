// What DeepSeek-V2 and V3 share: latent attention as their files store it, and leading dense
// layers.
#pragma once

#include "models/architecture.h"
#include "models/common.h"
#include "models/gguf_form.h"

namespace conclave::models {

// refuse_unknown_keys of both and of the one key that only one of them has.
void refuse_unknown_deepseek_keys(const io::JsonView& config, std::string_view own_key);
// parse_common and the ranks and widths of latent attention. Files store a head's query as
// [other | rotary]; `pairs`: the rotary elements as neighbouring pairs.
nn::TransformerConfig parse_latent(const io::JsonView& config, std::int64_t q_rank_if_absent,
                                   bool pairs);
nlohmann::json write_latent(const nn::TransformerConfig& c);

// Fills ffn_L: "first_k_dense_replace" dense layers of "intermediate_size", then `routed`.
void parse_leading_dense(const io::JsonView& config, const moe::LayerConfig& routed,
                         std::int64_t dense_if_absent, nn::TransformerConfig& c);
// The keys of dense and of routed experts, from the first layer of each; returns the routed one.
moe::LayerConfig write_leading_dense(const nn::TransformerConfig& c, nlohmann::json& json);
// "n_group" and "topk_group"; one group where they are absent.
void parse_groups(const io::JsonView& config, std::int64_t groups, std::int64_t kept,
                  moe::RouterConfig& router);

TensorPlace place_latent(const ParamSpec& spec, const nn::TransformerConfig& c,
                         const StoredNames& names);

// GGUF files of both: what the keys say about the angles and the scale of scores.
bool has_sigmoid_gating(const GgufKeys& keys);
void read_latent_gguf(const GgufKeys& keys, nn::TransformerConfig& config);
void write_latent_gguf(const nn::TransformerConfig& config, io::GgufMetadata& metadata);

}  // namespace conclave::models
