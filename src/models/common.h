// What the llama-like architectures share: key names, tensor names, and the check that no key of a
// config.json is silently ignored.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "io/json.h"
#include "nn/config.h"
#include "tensor/parameters.h"

namespace conclave::models {

// Which of the shared keys the reference implementation of an architecture acts on; the others must
// be absent or say what it does anyway.
struct CommonOptions {
  bool attention_bias = false;  // "attention_bias": biases of q, k, v (and of o, see below)
  bool out_bias = false;        // ... and of the output projection
  bool sliding_window = false;  // "sliding_window" holds in every layer
  double norm_eps = 1e-6;       // where "rms_norm_eps" is absent
  double rope_theta = 10000;    // where "rope_theta" is absent
};

// Reads the keys that all llama-like decoders have (sizes, heads, norm epsilon, rotary base and
// scaling, context, ties, special tokens) and leaves ffn_L empty.
nn::TransformerConfig parse_common(const io::JsonView& config, const CommonOptions& options = {});
nlohmann::json write_common(const nn::TransformerConfig& config);

// "rope_scaling" (or "rope_parameters") with any of the types default, linear, yarn, llama3,
// longrope, dynamic (which changes nothing up to max_position_embeddings); sets config.rope.
// `rotary_dim`: elements that rotate. Throws Error(kUnsupported) for other types.
void parse_rope(const io::JsonView& config, double default_theta, int rotary_dim,
                nn::TransformerConfig& c);
// The inverse: the value of "rope_scaling", null where there is none.
nlohmann::json write_rope_scaling(const nn::TransformerConfig& config);
// 0.1 m log(s) + 1, or 1 where s <= 1: YaRN's correction of magnitudes (Peng et al. 2023, eq. 22).
double yarn_magnitude(double factor, double mscale = 1);

// Per-layer windows from "layer_types" ("sliding_attention", "full_attention"), or `sliding(layer)`
// where the key is absent.
void parse_layer_types(const io::JsonView& config, int window, bool (*sliding)(int layer),
                       nn::TransformerConfig& c);
nlohmann::json write_layer_types(const nn::TransformerConfig& config);

// One dense FFN of a width, as a layer of one expert.
moe::LayerConfig dense_ffn(int width);
int positive(const io::JsonView& config, std::string_view key, std::int64_t if_absent = 0);

// A decoder without any of the options that only some architectures have: whole rotary heads, no
// scaling of angles, RMSNorm, no biases, no latent attention. Windows are not looked at.
bool plain_decoder(const nn::TransformerConfig& config, std::string& reason);
// SwiGLU experts without biases, gates or weighted inputs.
bool plain_experts(const moe::LayerConfig& ffn);

// Throws Error(kUnsupported) for a key of `config` that is neither in `keys`, nor common, nor known
// to leave the mathematics alone.
void refuse_unknown_keys(const io::JsonView& config, std::span<const std::string_view> keys);

// Names outside the FFN ("model.layers.3.self_attn.q_proj.weight", also of biases and of the norms
// of queries and keys); empty for other weights.
std::string common_tensor_name(const ParamId& id);

// "PREFIXgate_proj.weight" and so on, for the roles of an expert, of the shared expert or of a
// dense FFN, with ".bias" for their biases; empty for other roles.
std::string projection_name(const std::string& prefix, Role role);

// "model.layers.3."
std::string layer_prefix(const ParamId& id);

}  // namespace conclave::models
