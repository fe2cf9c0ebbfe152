// Granite-MoE with a shared expert beside the routed ones (IBM 2024).
#include "models/granitemoeshared.h"

#include "models/gguf_form.h"
#include "models/granite_layers.h"

namespace conclave::models {
namespace {

constexpr std::string_view kKeys[] = {
    "intermediate_size",    "num_local_experts",       "num_experts_per_tok",
    "embedding_multiplier", "residual_multiplier",     "attention_multiplier",
    "logits_scaling",       "position_embedding_type", "router_aux_loss_coef",
    "output_router_logits", "shared_intermediate_size"};

nn::TransformerConfig parse(const io::JsonView& config) {
  refuse_unknown_keys(config, kKeys);
  return parse_granite(config,
                       static_cast<int>(config.integer("shared_intermediate_size", 0, 1 << 20, 0)));
}

nlohmann::json write(const nn::TransformerConfig& c) {
  nlohmann::json json = write_granite(c);
  json["shared_intermediate_size"] = c.ffn_L.front().d_shared;
  return json;
}

bool can_express(const nn::TransformerConfig& c, std::string& reason) {
  return survives_round_trip(c, parse, write, reason);
}

const GgufForm kGguf = {.arch = "granitemoe", .pairs = true};

}  // namespace

const Architecture kGraniteMoeShared = {
    .model_type = "granitemoeshared",
    .class_name = "GraniteMoeSharedForCausalLM",
    .description = "Granite-MoE with a shared expert beside the routed ones",
    .parse = parse,
    .write = write,
    .can_express = can_express,
    .place = place_granite,
    .gguf = &kGguf,
};

}  // namespace conclave::models
