#include "train/config.h"

#include <algorithm>

#include "io/nearest_name.h"

namespace conclave::train {
namespace {

using io::Recipe;
using io::RecipeKey;
using Strings = std::vector<std::string>;

constexpr double kHuge = 1e12;

RecipeKey integer(const char* key, std::int64_t value, double min, double max, const char* help) {
  return {key, value, help, min, max, {}};
}
RecipeKey real(const char* key, double value, double min, double max, const char* help) {
  return {key, value, help, min, max, {}};
}
RecipeKey flag(const char* key, bool value, const char* help) { return {key, value, help}; }
RecipeKey text(const char* key, const char* value, const char* help, Strings choices = {}) {
  RecipeKey row{key, std::string(value), help};
  row.choices = std::move(choices);
  return row;
}
RecipeKey list(const char* key, const char* help) { return {key, Strings{}, help}; }

void add_model_keys(std::vector<RecipeKey>& t) {
  Strings routers;
  for (const moe::RouterTraits& traits : moe::router_list()) routers.emplace_back(traits.name);
  t.push_back(integer("model.width", 256, 1, 1 << 20, "D, width of the residual stream"));
  t.push_back(integer("model.layers", 4, 1, 4096, "L, decoder blocks"));
  t.push_back(integer("model.heads", 4, 1, 65536, "H, query heads"));
  t.push_back(integer("model.kv_heads", 2, 1, 65536, "G, key/value heads; divides heads"));
  t.push_back(integer("model.head_dim", 64, 2, 4096, "Q, width of a head"));
  t.push_back(integer("model.context", 512, 1, 1 << 24, "longest sequence the model is made for"));
  t.push_back(real("model.rope_theta", 10000, 1e-3, kHuge, "base of the rotary angles"));
  t.push_back(flag("model.tie_embeddings", false, "one matrix for embedding and output head"));
  t.push_back(integer("model.experts", 16, 1, moe::kMaxExperts,
                      "E, routed experts a layer; 1 is a dense model"));
  t.push_back(integer("model.experts_per_token", 2, 1, moe::kMaxExperts,
                      "K, experts that each token uses"));
  t.push_back(integer("model.expert_width", 384, 1, 1 << 20, "F, hidden width of one expert"));
  t.push_back(integer("model.shared_width", 0, 0, 1 << 20,
                      "hidden width of the expert that all tokens pass; 0: none"));
  t.push_back(text("router.kind", "softmax_topk",
                   "how tokens choose experts; docs/adding_a_router.md compares them", routers));
  t.push_back(flag("router.renormalize", true, "weights of a token's experts sum to 1"));
  t.push_back(real("router.scale", 1, 1e-6, 1e6, "multiplies the weights"));
  t.push_back(integer("router.groups", 1, 1, moe::kMaxExperts,
                      "groups of neighbouring experts (sigmoid_bias)"));
  t.push_back(
      integer("router.topk_groups", 1, 1, moe::kMaxExperts, "groups that a token may choose from"));
  t.push_back(real("router.capacity_factor", 0, 0, 1e6,
                   "drops tokens beyond factor * T * K / E per expert in training; 0: dropless"));
  t.push_back(text("router.capacity_order", "position", "who stays when an expert is full",
                   {"position", "probability"}));
  t.push_back(
      real("router.jitter", 0, 0, 1, "router input *= U(1 - jitter, 1 + jitter) in training"));
  t.push_back(real("router.bias_rate", 0, 0, 1,
                   "loss-free balancing: step of the selection bias (sigmoid_bias); 0: none"));
}

void add_training_keys(std::vector<RecipeKey>& t) {
  t.push_back(list("data.train", "texts to learn from, each \"label=path\""));
  t.push_back(list("data.heldout", "texts to measure with, each \"label=path\", same labels"));
  t.push_back(text("data.tokenizer", "", "a tokenizer.json; empty: learn one from data.train"));
  t.push_back(
      integer("data.vocab_size", 4096, 257, 1 << 20, "tokens of a tokenizer that is learnt"));
  t.push_back(
      integer("train.steps", 0, 0, kHuge, "optimiser steps; 0: as many as fit into train.minutes"));
  t.push_back(real("train.minutes", 3, 0, 1e6, "time to train for where train.steps is 0"));
  t.push_back(integer("train.sequence", 256, 1, 1 << 24, "tokens a sequence"));
  t.push_back(integer("train.batch", 32, 1, 1 << 20, "sequences an optimiser step"));
  t.push_back(integer("train.micro_batch", 0, 0, 1 << 20,
                      "sequences computed together; 0: all of the batch; divides it"));
  t.push_back(text("train.compute", "bf16", "type of the matrix products; masters stay f32",
                   {"bf16", "f32"}));
  t.push_back(
      flag("train.recompute", false,
           "keep only block inputs and compute the rest again: less memory, a third more time"));
  t.push_back(integer("train.seed", 1, 0, 9e15, "of weights, data order and router noise"));
  t.push_back(real("train.init_std", 0.02, 0, 10, "standard deviation of initial weights"));
  t.push_back(
      real("train.router_init_std", 0.02, 0, 10, "standard deviation of initial router weights"));
  t.push_back(real("optimizer.learning_rate", 2e-3, 0, 10, "peak, after the warm-up"));
  t.push_back(real("optimizer.final_ratio", 0.1, 0, 1, "learning rate at the end / peak"));
  t.push_back(
      integer("optimizer.warmup_steps", 50, 0, kHuge, "steps in which the learning rate rises"));
  t.push_back(
      text("optimizer.schedule", "cosine", "shape after the warm-up", {"cosine", "linear", "wsd"}));
  t.push_back(
      real("optimizer.wsd_decay", 0.2, 0, 1, "wsd: share of the steps, at the end, that decay"));
  t.push_back(real("optimizer.beta1", 0.9, 0, 0.9999999, "AdamW: memory of the mean"));
  t.push_back(real("optimizer.beta2", 0.95, 0, 0.9999999, "AdamW: memory of the square"));
  t.push_back(real("optimizer.epsilon", 1e-8, 1e-20, 1, "AdamW: added to the root of the square"));
  t.push_back(real("optimizer.weight_decay", 0.1, 0, 10, "decoupled, on matrices only"));
  t.push_back(real("optimizer.clip", 1, 0, 1e6, "largest norm of the gradient; 0: no clipping"));
  t.push_back(real("loss.load_balance", 0.01, 0, 1e3,
                   "coefficient of E * sum f P, mean over layers (Switch, eq. 4)"));
  t.push_back(real("loss.z", 0.001, 0, 1e3, "coefficient of the router z-loss (ST-MoE, eq. 5)"));
  t.push_back(
      real("loss.importance", 0, 0, 1e3, "coefficient of CV^2 of summed weights (Shazeer 2017)"));
  t.push_back(real("loss.load", 0, 0, 1e3, "coefficient of CV^2 of the smooth load (noisy_topk)"));
  t.push_back(integer("eval.every", 100, 0, kHuge,
                      "steps between measurements on held-out text; 0: at the end only"));
  t.push_back(integer("eval.tokens", 8192, 1, kHuge, "of each held-out text, while training"));
  t.push_back(
      integer("eval.final_tokens", 32768, 0, kHuge, "of each held-out text, at the end; 0: all"));
  t.push_back(
      integer("checkpoint.every", 200, 0, kHuge, "steps between checkpoints; 0: at the end only"));
  t.push_back(integer("checkpoint.keep", 2, 0, 1000000, "newest checkpoints to keep; 0: all"));
  t.push_back(integer("log.every", 1, 1, kHuge, "steps between lines of history.jsonl"));
}

int narrow(const Recipe& recipe, const char* key) { return static_cast<int>(recipe.integer(key)); }

moe::LayerConfig make_layer(const Recipe& recipe) {
  moe::LayerConfig ffn;
  ffn.d_expert = narrow(recipe, "model.expert_width");
  ffn.d_shared = narrow(recipe, "model.shared_width");
  const int experts = narrow(recipe, "model.experts");
  if (experts == 1) {
    ffn.router.n_experts = ffn.router.k = 1;
    return ffn;
  }
  moe::RouterConfig& r = ffn.router;
  r = moe::default_router_config(recipe.string("router.kind"));
  r.n_experts = experts;
  const auto given = [&](const char* key) { return recipe.is_set(key); };
  if (given("model.experts_per_token") || r.k == 0) r.k = narrow(recipe, "model.experts_per_token");
  if (r.k > experts) {
    recipe.fail_at("model.experts_per_token",
                   fmt::format("found {}, but there are only {} experts", r.k, experts));
  }
  if (given("router.renormalize")) r.renormalize = recipe.boolean("router.renormalize");
  if (given("router.scale")) r.scale = recipe.real("router.scale");
  if (given("router.groups")) r.n_groups = narrow(recipe, "router.groups");
  if (given("router.topk_groups")) r.topk_groups = narrow(recipe, "router.topk_groups");
  if (given("router.capacity_factor")) r.capacity_factor = recipe.real("router.capacity_factor");
  if (given("router.capacity_order")) {
    r.capacity_order = moe::parse_capacity_order(recipe.string("router.capacity_order"));
  }
  if (given("router.jitter")) r.jitter = recipe.real("router.jitter");
  moe::check_trainable(r);
  ffn.expert_bias = moe::router_traits(r.kind).supports_bias && recipe.real("router.bias_rate") > 0;
  return ffn;
}

nn::TransformerConfig make_model(const Recipe& recipe) {
  nn::TransformerConfig m;
  m.vocab_size = narrow(recipe, "data.vocab_size");  // replaced by the tokenizer's
  m.d_model = narrow(recipe, "model.width");
  m.n_layers = narrow(recipe, "model.layers");
  m.n_heads = narrow(recipe, "model.heads");
  m.n_kv_heads = narrow(recipe, "model.kv_heads");
  m.head_dim = narrow(recipe, "model.head_dim");
  m.rope.theta = recipe.real("model.rope_theta");
  m.tie_embeddings = recipe.boolean("model.tie_embeddings");
  m.max_positions = recipe.integer("model.context");
  m.ffn_L.assign(static_cast<std::size_t>(m.n_layers), make_layer(recipe));
  nn::validate(m);
  return m;
}

OptimizerConfig make_optimizer(const Recipe& recipe) {
  OptimizerConfig o;
  o.learning_rate = recipe.real("optimizer.learning_rate");
  o.final_ratio = recipe.real("optimizer.final_ratio");
  o.warmup_steps = recipe.integer("optimizer.warmup_steps");
  const std::string& schedule = recipe.string("optimizer.schedule");
  o.schedule = schedule == "linear" ? Schedule::kLinear
               : schedule == "wsd"  ? Schedule::kWsd
                                    : Schedule::kCosine;
  o.wsd_decay = recipe.real("optimizer.wsd_decay");
  o.beta1 = recipe.real("optimizer.beta1");
  o.beta2 = recipe.real("optimizer.beta2");
  o.epsilon = recipe.real("optimizer.epsilon");
  o.weight_decay = recipe.real("optimizer.weight_decay");
  o.clip = recipe.real("optimizer.clip");
  return o;
}

bool has_label(const std::vector<LabelledFile>& files, const std::string& label) {
  return std::any_of(files.begin(), files.end(),
                     [&](const LabelledFile& file) { return file.label == label; });
}

std::vector<LabelledFile> files(const Recipe& recipe, const char* key) {
  std::vector<LabelledFile> result;
  for (const std::string& entry : recipe.strings(key)) {
    if (entry.find('=') == std::string::npos) {
      recipe.fail_at(key, fmt::format("found \"{}\", expected \"label=path\"", entry));
    }
    LabelledFile file = parse_labelled_file(entry);
    if (file.label == "mean") {  // the reports' key for the mean over all labels
      recipe.fail_at(key, "the label 'mean' is reserved: choose another");
    }
    if (has_label(result, file.label)) {
      recipe.fail_at(key, fmt::format("the label '{}' is given twice: choose another for '{}'",
                                      file.label, file.path));
    }
    result.push_back(std::move(file));
  }
  return result;
}

void check_sizes(const Recipe& recipe, const TrainConfig& c) {
  if (c.train.empty()) {
    recipe.fail_at("data.train",
                   "no text to learn from is given: --data LABEL=FILE, or data.train in a recipe");
  }
  if (c.sequence > c.model.max_positions) {
    recipe.fail_at("train.sequence", fmt::format("found {}, but model.context is {}", c.sequence,
                                                 c.model.max_positions));
  }
  if (c.batch % c.micro_batch != 0) {
    recipe.fail_at(
        "train.micro_batch",
        fmt::format("found {}, which does not divide train.batch = {}", c.micro_batch, c.batch));
  }
  if (c.steps == 0 && !(c.minutes > 0)) {
    recipe.fail_at("train.steps", "either train.steps or train.minutes must be above 0");
  }
  for (const LabelledFile& held : c.heldout) {
    const auto same = [&](const LabelledFile& f) { return f.path == held.path; };
    if (std::any_of(c.train.begin(), c.train.end(), same)) {
      recipe.fail_at("data.heldout", fmt::format("'{}' is also trained on", held.path));
    }
    if (!has_label(c.train, held.label)) {
      std::vector<std::string> labels;
      for (const LabelledFile& file : c.train) labels.push_back(file.label);
      recipe.fail_at(
          "data.heldout",
          fmt::format("no text of data.train has the label '{}'{}; there are: {}", held.label,
                      io::did_you_mean(held.label, labels), fmt::join(labels, ", ")));
    }
  }
}

}  // namespace

std::vector<RecipeKey> recipe_table() {
  std::vector<RecipeKey> table;
  add_model_keys(table);
  add_training_keys(table);
  return table;
}

LabelledFile parse_labelled_file(const std::string& text) {
  const auto equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
    fail(ErrorKind::kInvalidArgument, "'{}': expected LABEL=FILE", text);
  }
  return {text.substr(0, equals), text.substr(equals + 1)};
}

TrainConfig make_config(const Recipe& recipe) {
  TrainConfig c;
  c.model = make_model(recipe);
  c.train = files(recipe, "data.train");
  c.heldout = files(recipe, "data.heldout");
  c.tokenizer = recipe.string("data.tokenizer");
  c.vocab_size = narrow(recipe, "data.vocab_size");
  c.steps = recipe.integer("train.steps");
  c.minutes = recipe.real("train.minutes");
  c.sequence = narrow(recipe, "train.sequence");
  c.batch = narrow(recipe, "train.batch");
  c.micro_batch = narrow(recipe, "train.micro_batch");
  if (c.micro_batch == 0) c.micro_batch = c.batch;
  c.compute = recipe.string("train.compute") == "f32" ? DType::kF32 : DType::kBF16;
  c.recompute = recipe.boolean("train.recompute");
  c.seed = static_cast<std::uint64_t>(recipe.integer("train.seed"));
  c.init_std = recipe.real("train.init_std");
  c.router_init_std = recipe.real("train.router_init_std");
  c.optimizer = make_optimizer(recipe);
  c.losses.load_balance = recipe.real("loss.load_balance");
  c.losses.z_loss = recipe.real("loss.z");
  c.losses.importance = recipe.real("loss.importance");
  c.losses.load = recipe.real("loss.load");
  c.bias_rate = recipe.real("router.bias_rate");
  c.eval_every = recipe.integer("eval.every");
  c.eval_tokens = recipe.integer("eval.tokens");
  c.final_eval_tokens = recipe.integer("eval.final_tokens");
  c.checkpoint_every = recipe.integer("checkpoint.every");
  c.keep_checkpoints = narrow(recipe, "checkpoint.keep");
  c.log_every = recipe.integer("log.every");
  check_sizes(recipe, c);
  return c;
}

}  // namespace conclave::train
