#include "models/research.h"

#include "models/common.h"

namespace conclave::models {
namespace {

using nlohmann::json;

constexpr std::string_view kKeys[] = {"rotary_dim", "ffn_layers"};
constexpr int kMaxWidth = 1 << 20;

moe::RouterConfig parse_router(const io::JsonView& j) {
  const std::string kind = j.string("kind");
  moe::RouterConfig r = moe::default_router_config(kind);
  r.n_experts = static_cast<int>(j.integer("n_experts", 2, moe::kMaxExperts));
  r.k = static_cast<int>(j.integer("k", 1, moe::kMaxExperts, r.k));
  r.renormalize = j.boolean("renormalize", r.renormalize);
  r.scale = j.number("scale", 1e-6, 1e6, r.scale);
  r.n_groups = static_cast<int>(j.integer("n_groups", 1, moe::kMaxExperts, r.n_groups));
  r.topk_groups = static_cast<int>(j.integer("topk_groups", 1, moe::kMaxExperts, r.topk_groups));
  r.group_score =
      moe::parse_group_score(j.string("group_score", moe::group_score_name(r.group_score)));
  r.norm_power = j.number("norm_power", 1e-6, 64, r.norm_power);
  r.norm_min = j.number("norm_min", 0, 1, r.norm_min);
  r.group_fill_zero = j.boolean("group_fill_zero", r.group_fill_zero);
  r.mixer_epsilon = j.number("mixer_epsilon", 0, 1e3, r.mixer_epsilon);
  r.capacity_factor = j.number("capacity_factor", 0, 1e6, r.capacity_factor);
  r.capacity_order = moe::parse_capacity_order(
      j.string("capacity_order", moe::capacity_order_name(r.capacity_order)));
  r.jitter = j.number("jitter", 0, 1, r.jitter);
  r.noise_floor = j.number("noise_floor", 0, 1e3, r.noise_floor);
  r.hash_seed = static_cast<std::uint64_t>(j.integer("hash_seed", 0, INT64_MAX, 0));
  return r;
}

json write_router(const moe::RouterConfig& r) {
  return {{"kind", r.kind},
          {"n_experts", r.n_experts},
          {"k", r.k},
          {"renormalize", r.renormalize},
          {"scale", r.scale},
          {"n_groups", r.n_groups},
          {"topk_groups", r.topk_groups},
          {"group_score", moe::group_score_name(r.group_score)},
          {"norm_power", r.norm_power},
          {"norm_min", r.norm_min},
          {"group_fill_zero", r.group_fill_zero},
          {"mixer_epsilon", r.mixer_epsilon},
          {"capacity_factor", r.capacity_factor},
          {"capacity_order", moe::capacity_order_name(r.capacity_order)},
          {"jitter", r.jitter},
          {"noise_floor", r.noise_floor},
          {"hash_seed", r.hash_seed}};
}

nn::TransformerConfig parse(const io::JsonView& config) {
  refuse_unknown_keys(config, kKeys);
  nn::TransformerConfig c = parse_common(config, {.sliding_window = true});
  c.rope.rotary_dim = static_cast<int>(config.integer("rotary_dim", 0, 4096, 0));
  if (!config.has("ffn_layers") || !config.value().at("ffn_layers").is_array()) {
    config.fail_at("ffn_layers", "expected a list with one entry a layer");
  }
  for (const json& entry : config.value().at("ffn_layers")) {
    const io::JsonView j(entry, config.file_name(), "ffn_layers");
    moe::LayerConfig ffn;
    ffn.d_expert = static_cast<int>(j.integer("expert_width", 1, kMaxWidth));
    ffn.d_shared = static_cast<int>(j.integer("shared_width", 0, kMaxWidth, 0));
    ffn.expert_bias = j.boolean("expert_bias", false);
    if (j.has("router")) {
      ffn.router = parse_router(j.object("router"));
    } else {
      ffn.router.n_experts = ffn.router.k = 1;
    }
    c.ffn_L.push_back(ffn);
  }
  return c;
}

json write(const nn::TransformerConfig& c) {
  json result = write_common(c);
  result["rotary_dim"] = c.rope.rotary_dim;
  result["sliding_window"] = c.attention_at(0).window;
  result["ffn_layers"] = json::array();
  for (const moe::LayerConfig& ffn : c.ffn_L) {
    json entry = {{"expert_width", ffn.d_expert},
                  {"shared_width", ffn.d_shared},
                  {"expert_bias", ffn.expert_bias}};
    if (!ffn.dense()) entry["router"] = write_router(ffn.router);
    result["ffn_layers"].push_back(entry);
  }
  return result;
}

bool can_express(const nn::TransformerConfig& config, std::string& reason) {
  nn::TransformerConfig whole_heads = config;
  whole_heads.rope.rotary_dim = 0;
  if (!plain_decoder(whole_heads, reason)) return false;
  for (const moe::LayerConfig& ffn : config.ffn_L) {
    if (plain_experts(ffn)) continue;
    reason = "experts with biases, gates or weighted inputs";
    return false;
  }
  return true;
}

std::string tensor_name(const ParamId& id) {
  std::string common = common_tensor_name(id);
  if (!common.empty()) return common;
  const std::string moe = layer_prefix(id) + "moe.";
  const auto expert = [&](const char* part) {
    return fmt::format("{}experts.{}.{}.weight", moe, id.expert, part);
  };
  switch (id.role) {
    case Role::kRouter:
      return moe + "router.weight";
    case Role::kRouterNoise:
      return moe + "router_noise.weight";
    case Role::kExpertBias:
      return moe + "router.expert_bias";
    case Role::kExpertGate:
      return expert("w_gate");
    case Role::kExpertUp:
      return expert("w_up");
    case Role::kExpertDown:
      return expert("w_down");
    case Role::kSharedGate:
      return moe + "shared_experts.w_gate.weight";
    case Role::kSharedUp:
      return moe + "shared_experts.w_up.weight";
    default:
      return moe + "shared_experts.w_down.weight";
  }
}

TensorPlace place(const ParamSpec& spec, const nn::TransformerConfig&, const StoredNames&) {
  return TensorPlace::whole(tensor_name(spec.id), spec);
}

}  // namespace

const Architecture kResearch = {
    .model_type = "conclave_moe",
    .class_name = "ConclaveMoeForCausalLM",
    .description = "Research: any router, shared and fine-grained experts",
    .parse = parse,
    .write = write,
    .can_express = can_express,
    .place = place,
};

}  // namespace conclave::models
