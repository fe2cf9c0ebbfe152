// Names, defaults, checks and descriptions of router configurations.
#include <cmath>

#include "base/error.h"
#include "moe/router.h"
#include "moe/routers/registry.h"

namespace conclave::moe {
namespace {

[[noreturn]] void fail_field(const RouterConfig& config, const std::string& found,
                             const std::string& expected) {
  fail(ErrorKind::kInvalidArgument, "router '{}': {}: expected {}", config.kind, found, expected);
}

void check_experts(const RouterConfig& config) {
  if (config.n_experts < 1 || config.n_experts > kMaxExperts) {
    fail_field(config, fmt::format("n_experts = {}", config.n_experts),
               fmt::format("1..{}", kMaxExperts));
  }
  if (config.k < 1 || config.k > config.n_experts) {
    fail_field(config, fmt::format("k = {}", config.k),
               fmt::format("1..{} (the number of experts)", config.n_experts));
  }
}

void check_groups(const RouterConfig& config, const RouterTraits& traits) {
  if (!traits.supports_groups && (config.n_groups != 1 || config.topk_groups != 1)) {
    fail_field(config,
               fmt::format("n_groups = {}, topk_groups = {}", config.n_groups, config.topk_groups),
               "1 and 1: this router does not select by groups");
  }
  if (config.n_groups < 1 || config.n_experts % config.n_groups != 0) {
    fail_field(config, fmt::format("n_groups = {}", config.n_groups),
               fmt::format("a divisor of n_experts = {}", config.n_experts));
  }
  if (config.topk_groups < 1 || config.topk_groups > config.n_groups) {
    fail_field(config, fmt::format("topk_groups = {}", config.topk_groups),
               fmt::format("1..{} (n_groups)", config.n_groups));
  }
  const int size = config.n_experts / config.n_groups;
  if (config.k > config.topk_groups * size && !config.group_fill_zero) {
    fail_field(config, fmt::format("k = {}", config.k),
               fmt::format("at most {}: topk_groups = {} groups of {} experts hold no more",
                           config.topk_groups * size, config.topk_groups, size));
  }
  if (config.topk_groups < config.n_groups && config.group_score == GroupScore::kTop2Sum &&
      size < 2) {
    fail_field(config, fmt::format("n_groups = {}", config.n_groups),
               "at least 2 experts per group for group_score 'top2_sum'; use 'max'");
  }
}

void check_numbers(const RouterConfig& config, const RouterTraits& traits) {
  constexpr double kMaxScale = 1e6;  // far beyond any published model, and safe in float
  if (!(config.scale > 0 && config.scale <= kMaxScale)) {
    fail_field(config, fmt::format("scale = {}", config.scale), "a number in (0, 1e6]");
  }
  if (!(config.capacity_factor >= 0 && config.capacity_factor <= kMaxScale)) {
    fail_field(config, fmt::format("capacity_factor = {}", config.capacity_factor),
               "0 (dropless) or a number up to 1e6");
  }
  if (config.capacity_factor > 0 && !traits.supports_capacity) {
    fail_field(config, fmt::format("capacity_factor = {}", config.capacity_factor),
               "0: this router fills every expert equally, set k for the mean experts per token");
  }
  if (!(config.jitter >= 0 && config.jitter < 1)) {
    fail_field(config, fmt::format("jitter = {}", config.jitter), "a number in [0, 1)");
  }
  if (config.jitter > 0 && !traits.needs_logits) {
    fail_field(config, fmt::format("jitter = {}", config.jitter), "0: this router has no input");
  }
  if (!(config.noise_floor > 0 && config.noise_floor <= kMaxScale)) {
    fail_field(config, fmt::format("noise_floor = {}", config.noise_floor),
               "a number in (0, 1e6]: the noise must not vanish");
  }
}

// Fields of one router alone.
void check_own_fields(const RouterConfig& config) {
  constexpr double kMaxPower = 64;  // beyond, the norm is the maximum to float's precision
  if (config.kind != "softmax_topk" && (config.norm_power != 1 || config.norm_min != 0)) {
    fail_field(config,
               fmt::format("norm_power = {}, norm_min = {}", config.norm_power, config.norm_min),
               "1 and 0: only softmax_topk has other norms");
  }
  if (!(config.norm_power > 0 && config.norm_power <= kMaxPower)) {
    fail_field(config, fmt::format("norm_power = {}", config.norm_power), "a number in (0, 64]");
  }
  if (!(config.norm_min >= 0 && config.norm_min <= 1)) {
    fail_field(config, fmt::format("norm_min = {}", config.norm_min), "a number from 0 to 1");
  }
  if (!config.renormalize && (config.norm_power != 1 || config.norm_min != 0)) {
    fail_field(config, "renormalize = false with norm_power or norm_min",
               "1 and 0, or renormalize = true: raw weights have no norm");
  }
  if (config.group_fill_zero && config.kind != "sigmoid_bias") {
    fail_field(config, "group_fill_zero = true", "false: only sigmoid_bias fills with 0");
  }
  const bool mixer = config.kind == "sparsemixer";
  if (!mixer && config.mixer_epsilon != RouterConfig{}.mixer_epsilon) {
    fail_field(config, fmt::format("mixer_epsilon = {}", config.mixer_epsilon),
               "its default: only sparsemixer has a threshold");
  }
  if (!(config.mixer_epsilon >= 0 && config.mixer_epsilon <= 1e3)) {
    fail_field(config, fmt::format("mixer_epsilon = {}", config.mixer_epsilon),
               "a number from 0 to 1000");
  }
}

const char* yes_no(bool value) { return value ? "yes" : "-"; }

}  // namespace

const char* group_score_name(GroupScore score) {
  return score == GroupScore::kTop2Sum ? "top2_sum" : "max";
}

const char* capacity_order_name(CapacityOrder order) {
  return order == CapacityOrder::kPosition ? "position" : "probability";
}

GroupScore parse_group_score(std::string_view name) {
  if (name == "top2_sum") return GroupScore::kTop2Sum;
  if (name == "max") return GroupScore::kMax;
  fail(ErrorKind::kInvalidArgument, "group_score '{}': expected 'top2_sum' or 'max'",
       name.substr(0, 64));
}

CapacityOrder parse_capacity_order(std::string_view name) {
  if (name == "position") return CapacityOrder::kPosition;
  if (name == "probability") return CapacityOrder::kProbability;
  fail(ErrorKind::kInvalidArgument, "capacity_order '{}': expected 'position' or 'probability'",
       name.substr(0, 64));
}

std::vector<RouterTraits> router_list() {
  std::vector<RouterTraits> list;
  for (const RouterSpec* spec : router_specs()) list.push_back(spec->traits);
  return list;
}

const RouterTraits& router_traits(std::string_view kind) { return find_router(kind).traits; }

RouterConfig default_router_config(std::string_view kind) {
  const RouterSpec& spec = find_router(kind);
  RouterConfig config;
  config.kind = spec.traits.name;
  if (spec.set_defaults != nullptr) spec.set_defaults(config);
  return config;
}

void validate_router_config(const RouterConfig& config) {
  const RouterSpec& spec = find_router(config.kind);
  check_experts(config);
  check_groups(config, spec.traits);
  check_numbers(config, spec.traits);
  check_own_fields(config);
  if (spec.validate != nullptr) spec.validate(config);
}

void check_trainable(const RouterConfig& config) {
  validate_router_config(config);
  if (config.k == 1 && config.renormalize && find_router(config.kind).traits.needs_logits) {
    fail(ErrorKind::kInvalidArgument,
         "router '{}': k = 1 with renormalize = true: the weight of a single expert is then always "
         "{}, so the router would get no gradient from the task; set renormalize = false or k >= 2",
         config.kind, config.scale);
  }
}

void check_causal(const RouterConfig& config) {
  if (find_router(config.kind).traits.causal) return;
  fail(ErrorKind::kInvalidArgument,
       "router '{}': not for a causal model: whether a token gets an expert depends on later "
       "tokens, so training would leak the future and generation could not repeat it; use "
       "softmax_topk or sigmoid_bias",
       config.kind);
}

int router_slots(const RouterConfig& config) {
  const RouterSpec& spec = find_router(config.kind);
  return spec.slots == nullptr ? config.k : spec.slots(config);
}

std::string describe_router(const RouterConfig& config) {
  const RouterTraits& traits = router_traits(config.kind);
  std::string text = fmt::format("{}: {} experts, {}{} per token", config.kind, config.n_experts,
                                 config.k, traits.causal ? "" : " on average");
  text += config.renormalize ? ", renormalised" : ", raw weights";
  if (config.norm_power != 1) text += fmt::format(" by their {}-norm", config.norm_power);
  if (config.norm_min > 0) text += fmt::format(" by at least {}", config.norm_min);
  if (config.kind == "sparsemixer") text += fmt::format(", threshold {}", config.mixer_epsilon);
  if (config.scale != 1) text += fmt::format(", scale {}", config.scale);
  if (config.topk_groups < config.n_groups) {
    text += fmt::format(", within {} of {} groups by {}", config.topk_groups, config.n_groups,
                        group_score_name(config.group_score));
    if (config.group_fill_zero) text += " (the others score 0)";
  }
  if (config.capacity_factor > 0) {
    text += fmt::format(", capacity factor {} by {}", config.capacity_factor,
                        capacity_order_name(config.capacity_order));
  } else {
    text += traits.supports_capacity ? ", dropless" : "";
  }
  if (config.jitter > 0) text += fmt::format(", jitter {}", config.jitter);
  if (traits.needs_noise_logits) text += fmt::format(", noise floor {}", config.noise_floor);
  if (traits.needs_ids) text += fmt::format(", hash seed {}", config.hash_seed);
  return text + fmt::format(" [{}]", traits.citation);
}

std::string router_table_markdown() {
  std::string table =
      "| kind | what it computes | logits | noise logits | token ids | causal | selection bias | "
      "groups | capacity | use when | source |\n|---|---|---|---|---|---|---|---|---|---|---|\n";
  for (const RouterSpec* spec : router_specs()) {
    const RouterTraits& r = spec->traits;
    table +=
        fmt::format("| `{}` | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n", r.name,
                    r.equation, yes_no(r.needs_logits), yes_no(r.needs_noise_logits),
                    yes_no(r.needs_ids), yes_no(r.causal), yes_no(r.supports_bias),
                    yes_no(r.supports_groups), yes_no(r.supports_capacity), r.use_when, r.citation);
  }
  return table;
}

}  // namespace conclave::moe
