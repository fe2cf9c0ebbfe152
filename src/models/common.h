// What the llama-like architectures share: key names, tensor names, and the check that no key of a
// config.json is silently ignored.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "io/json.h"
#include "models/architecture.h"
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
  double partial_rotary = 1;    // where "partial_rotary_factor" is absent
  int head_dim = 0;             // where "head_dim" is absent; 0: hidden_size / num_attention_heads
  bool tie_embeddings = false;  // where "tie_word_embeddings" is absent
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
void parse_layer_types(const io::JsonView& config, int window,
                       const std::function<bool(int layer)>& sliding, nn::TransformerConfig& c);
nlohmann::json write_layer_types(const nn::TransformerConfig& config);

// One dense FFN of a width, as a layer of one expert.
moe::LayerConfig dense_ffn(int width);
int positive(const io::JsonView& config, std::string_view key, std::int64_t if_absent = 0);
// E routed experts of a width, K a token, by a router with its defaults. Throws Error(kUnsupported)
// under 2 experts: a dense layer has other tensors.
moe::LayerConfig routed_ffn(const io::JsonView& config, std::string_view router,
                            std::string_view experts_key, std::int64_t experts_if_absent,
                            std::string_view k_key, std::int64_t k_if_absent, int width);

// Throws Error(kUnsupported) unless the key is absent or says `value`: what the reference
// implementation computes whatever the file says.
void require_boolean(const io::JsonView& config, std::string_view key, bool value);
void require_string(const io::JsonView& config, std::string_view key, std::string_view value);
void require_number(const io::JsonView& config, std::string_view key, double value);
// "quantization_config" must be absent or of this method ("fp8", "mxfp4"), as stored_rows.h reads.
void check_quantization(const io::JsonView& config, std::string_view method);

// Whether the architecture's own config.json would say all that the recipe says: what `write` makes
// of it, parsed again, is the same recipe, but for its name and for what only training uses.
bool survives_round_trip(const nn::TransformerConfig& config,
                         nn::TransformerConfig (*parse)(const io::JsonView& config),
                         nlohmann::json (*write)(const nn::TransformerConfig& config),
                         std::string& reason);
// The first part in which two recipes differ, empty where they are the same.
std::string recipe_difference(const nn::TransformerConfig& a, const nn::TransformerConfig& b);

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

// How an architecture names the parts of its FFN layers.
struct FfnNames {
  std::string_view block = "mlp.";  // after "model.layers.3."; a dense FFN lies here
  std::string_view router = "gate.weight";
  std::string_view expert_bias = "gate.e_score_correction_bias";
  std::string_view shared = "shared_experts.";
};
// Names of a dense FFN or of "experts.7." and its neighbours; empty for other weights.
std::string ffn_tensor_name(const ParamId& id, const nn::TransformerConfig& config,
                            const FfnNames& names = {});
// common_tensor_name, then ffn_tensor_name.
std::string decoder_tensor_name(const ParamId& id, const nn::TransformerConfig& config,
                                const FfnNames& names = {});
// Every weight whole, under its decoder_tensor_name: an Architecture::place.
TensorPlace place_decoder(const ParamSpec& spec, const nn::TransformerConfig& config,
                          const StoredNames& names);
// Whether the tensor is of a layer from n_layers on: layers that predict further tokens.
bool beyond_last_layer(const std::string& name, const nn::TransformerConfig& config);

// "model.layers.3."
std::string layer_prefix(const ParamId& id);

}  // namespace conclave::models
