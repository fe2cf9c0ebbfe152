// Granite-MoE (IBM 2024).
#include "models/granitemoe.h"

#include "models/gguf_form.h"
#include "models/granite_layers.h"

namespace conclave::models {
namespace {

constexpr std::string_view kKeys[] = {"intermediate_size",    "num_local_experts",
                                      "num_experts_per_tok",  "embedding_multiplier",
                                      "residual_multiplier",  "attention_multiplier",
                                      "logits_scaling",       "position_embedding_type",
                                      "router_aux_loss_coef", "output_router_logits"};

nn::TransformerConfig parse(const io::JsonView& config) {
  refuse_unknown_keys(config, kKeys);
  return parse_granite(config, 0);
}

nlohmann::json write(const nn::TransformerConfig& c) {
  nlohmann::json json = write_granite(c);
  return json;
}

bool can_express(const nn::TransformerConfig& c, std::string& reason) {
  return survives_round_trip(c, parse, write, reason);
}

const GgufForm kGguf = {.arch = "granitemoe", .pairs = true, .accepts = [](const GgufKeys& keys) {
                          return !keys.has_tensor("blk.0.ffn_up_shexp.weight");
                        }};

}  // namespace

const Architecture kGraniteMoe = {
    .model_type = "granitemoe",
    .class_name = "GraniteMoeForCausalLM",
    .description = "Granite-MoE: softmax top-k, scaled embeddings, residuals and logits",
    .parse = parse,
    .write = write,
    .can_express = can_express,
    .place = place_granite,
    .gguf = &kGguf,
};

}  // namespace conclave::models
