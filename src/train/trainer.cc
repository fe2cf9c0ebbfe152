#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>

#include "io/checkpoint.h"
#include "models/model_files.h"
#include "nn/evaluate.h"
#include "nn/loss_head.h"
#include "ops/optimizer.h"
#include "sys/interrupt.h"
#include "train/diagnose.h"
#include "train/initializer.h"
#include "train/schedule.h"

namespace conclave::train {
namespace {

constexpr const char* kStateFile = "training_state.safetensors";

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

nn::RoutingObserver counting(std::vector<moe::RoutingStatistics>& routing_L) {
  return [&routing_L](int layer, const moe::RoutingDecision& decision, const moe::DispatchPlan&) {
    routing_L[static_cast<std::size_t>(layer)].add(decision);
  };
}

void add_losses(moe::AuxiliaryLosses& sum, const moe::AuxiliaryLosses& x, double weight) {
  sum.load_balance += weight * x.load_balance;
  sum.z_loss += weight * x.z_loss;
  sum.importance += weight * x.importance;
  sum.load += weight * x.load;
}

// Neighbouring weights that the optimiser treats alike.
struct Range {
  std::int64_t begin = 0, end = 0;
  bool decay = false;
};
std::vector<Range> optimiser_ranges(const ParameterSet& parameters) {
  std::vector<Range> ranges;
  for (const ParamSpec& spec : parameters.specs()) {
    if (!spec.trained) continue;
    const std::int64_t end = spec.offset + spec.shape.count();
    if (!ranges.empty() && ranges.back().end == spec.offset && ranges.back().decay == spec.decay) {
      ranges.back().end = end;
    } else {
      ranges.push_back({spec.offset, end, spec.decay});
    }
  }
  return ranges;
}

template <class T>
std::span<T> part(std::span<T> all, const Range& range) {
  return all.subspan(static_cast<std::size_t>(range.begin),
                     static_cast<std::size_t>(range.end - range.begin));
}

}  // namespace

double worst_violation(const std::vector<moe::RoutingStatistics>& routing_L) {
  double worst = 0;
  for (const moe::RoutingStatistics& routing : routing_L) {
    worst = std::max(worst, routing.balance().max_violation);
  }
  return worst;
}

Trainer::Trainer(ops::Context& context, TrainConfig config, TrainingData data,
                 std::vector<LabelledTokens> heldout)
    : context_(context),
      config_(std::move(config)),
      data_(std::move(data)),
      heldout_(std::move(heldout)),
      transformer_(std::make_unique<nn::Transformer>(config_.model)),
      total_steps_(config_.steps) {
  for (const moe::LayerConfig& ffn : config_.model.ffn_L) moe_layers_ += ffn.dense() ? 0 : 1;
  Initializer initializer(config_.seed, config_.init_std, config_.router_init_std,
                          config_.model.n_layers);
  transformer_->load_for_training(context_, initializer, config_.compute);
  const std::int64_t n = transformer_->parameters().count();
  adam_m_ = Tensor(DType::kF32, {n});
  sys::stop_if_interrupted("taking memory for the optimiser");
  adam_v_ = Tensor(DType::kF32, {n});
  const auto pool = transformer_->new_kv_pool(ops::KvType::kF32);
  for (int i = 0; i < config_.micro_batch; ++i) {
    caches_.push_back(std::make_unique<nn::KvCache>(pool, config_.sequence));
  }
  activations_.keep = true;
  activations_.recompute = config_.recompute;
}

double Trainer::flops_per_token() const {
  const nn::TransformerConfig& m = config_.model;
  const auto multiply = static_cast<double>(nn::count_parameters(m).active_matmul);
  const double attention =
      static_cast<double>(m.n_layers) * m.n_heads * m.head_dim * config_.sequence;
  return 6 * multiply + 6 * attention;
}

Trainer::MicroBatch Trainer::micro_batch(std::int64_t index) {
  MicroBatch micro;
  const std::int64_t first = step_ * config_.batch + index * config_.micro_batch;
  for (int s = 0; s < config_.micro_batch; ++s) {
    const auto ids = data_.draw(first + s);
    micro.ids_T.insert(micro.ids_T.end(), ids.begin(), ids.end() - 1);
    micro.targets_T.insert(micro.targets_T.end(), ids.begin() + 1, ids.end());
  }
  return micro;
}

double Trainer::forward_backward(const MicroBatch& micro, std::int64_t micro_index,
                                 StepReport& report) {
  nn::Batch batch;
  batch.ids_T = micro.ids_T;
  for (int s = 0; s < config_.micro_batch; ++s) {
    batch.chunks.push_back({caches_[static_cast<std::size_t>(s)].get(),
                            static_cast<std::int64_t>(s) * config_.sequence, config_.sequence, 0});
  }
  nn::ForwardOptions options;
  options.training = true;
  options.rng = Rng(config_.seed)
                    .fork(static_cast<std::uint64_t>(step_))
                    .fork(static_cast<std::uint64_t>(micro_index));
  const double share = 1.0 / std::max(1, micro_batches() * moe_layers_);
  options.losses = config_.losses;
  options.losses.load_balance *= share;
  options.losses.z_loss *= share;
  options.losses.importance *= share;
  options.losses.load *= share;
  options.observer = counting(report.routing_L);

  transformer_->forward(context_, batch, options, activations_);
  const std::int64_t T = batch.n_tokens();
  std::vector<float> nll(static_cast<std::size_t>(T));
  const float scale = 1.0f / static_cast<float>(T * micro_batches());
  const MatrixView<float> d_out = d_out_.resize(T, config_.model.d_model);
  nn::head_loss_backward(context_, *transformer_, activations_.out.view(), micro.targets_T, scale,
                         d_out, nll.data());
  double sum = 0;
  for (float value : nll) sum += static_cast<double>(value);
  if (!std::isfinite(sum)) {
    fail(ErrorKind::kNumeric,
         "step {}: the loss is not finite, first in {}; the weights were not changed. Lower "
         "optimizer.learning_rate, or resume from an earlier checkpoint",
         step_ + 1, locate_nonfinite(context_, *transformer_, activations_));
  }
  transformer_->backward(context_, batch, options, activations_, d_out);
  for (const moe::AuxiliaryLosses& losses : activations_.losses_L) {
    add_losses(report.auxiliary, losses, share);
  }
  return sum;
}

double Trainer::checked_gradient_norm() {
  const ParameterSet& parameters = transformer_->parameters();
  const double squares = ops::sum_of_squares(context_, parameters.gradients());
  if (std::isfinite(squares)) return std::sqrt(squares);
  for (int i = 0; i < static_cast<int>(parameters.specs().size()); ++i) {
    const MatrixView<float> gradient = parameters.gradient(i);
    const auto n = static_cast<std::size_t>(gradient.rows * gradient.cols);
    if (ops::all_finite(context_, {gradient.data, n})) continue;
    fail(ErrorKind::kNumeric,
         "step {}: the gradient of {} is not finite; the weights were not changed. Lower "
         "optimizer.learning_rate, or resume from an earlier checkpoint",
         step_ + 1, describe(parameters.specs()[static_cast<std::size_t>(i)].id));
  }
  fail(ErrorKind::kNumeric, "step {}: the norm of the gradient overflows", step_ + 1);
}

void Trainer::update(double learning_rate, double gradient_norm) {
  const OptimizerConfig& o = config_.optimizer;
  ops::AdamWStep adam;
  const auto t = static_cast<double>(step_ + 1);
  adam.lr = learning_rate;
  adam.beta1 = o.beta1;
  adam.beta2 = o.beta2;
  adam.eps = o.epsilon;
  adam.bias_correction1 = 1 - std::pow(o.beta1, t);
  adam.bias_correction2 = 1 - std::pow(o.beta2, t);
  adam.grad_scale = o.clip > 0 && gradient_norm > o.clip ? o.clip / gradient_norm : 1;
  ParameterSet& parameters = transformer_->parameters();
  for (const Range& range : optimiser_ranges(parameters)) {
    adam.weight_decay = range.decay ? o.weight_decay : 0;
    ops::adamw_step(context_, part(parameters.values(), range),
                    std::span<const float>(part(parameters.gradients(), range)),
                    part(adam_m_.span<float>(), range), part(adam_v_.span<float>(), range), adam);
  }
}

void Trainer::balance_biases(const StepReport& report) {
  for (int layer = 0; layer < config_.model.n_layers; ++layer) {
    const std::span<float> bias = transformer_->expert_bias(layer);
    if (bias.empty() || config_.bias_rate == 0) continue;
    const auto counts = report.routing_L[static_cast<std::size_t>(layer)].tokens_per_expert();
    moe::loss_free_bias_update(bias, counts, config_.bias_rate, /*centre=*/false);
  }
}

StepReport Trainer::step() {
  const auto start = std::chrono::steady_clock::now();
  StepReport report;
  report.routing_L.resize(static_cast<std::size_t>(config_.model.n_layers));
  const std::span<float> gradients = transformer_->parameters().gradients();
  context_.pool.parallel_for(static_cast<std::int64_t>(gradients.size()), 4096,
                             [&](std::int64_t begin, std::int64_t end) {
                               std::fill(gradients.begin() + begin, gradients.begin() + end, 0.0f);
                             });
  double nll = 0;
  for (int m = 0; m < micro_batches(); ++m) nll += forward_backward(micro_batch(m), m, report);
  report.gradient_norm = checked_gradient_norm();
  // Until the number of steps is known, only the warm-up and the peak are used.
  const std::int64_t total = total_steps_ > 0 ? total_steps_ : std::int64_t{1} << 40;
  report.learning_rate = learning_rate(config_.optimizer, step_, total);
  update(report.learning_rate, report.gradient_norm);
  balance_biases(report);
  transformer_->repack(context_);

  ++step_;
  const std::int64_t per_step = static_cast<std::int64_t>(config_.batch) * config_.sequence;
  report.step = step_;
  report.tokens = step_ * per_step;
  report.loss = nll / static_cast<double>(per_step);
  report.seconds = seconds_since(start);
  return report;
}

HeldoutReport Trainer::evaluate_heldout(std::int64_t tokens) {
  HeldoutReport report;
  report.routing_L.resize(static_cast<std::size_t>(config_.model.n_layers));
  nn::EvaluateOptions options;
  options.window = config_.sequence;
  options.observer = counting(report.routing_L);
  for (const LabelledTokens& text : heldout_) {
    std::span<const std::int32_t> ids = text.ids;
    if (tokens > 0) ids = ids.first(std::min(ids.size(), static_cast<std::size_t>(tokens) + 1));
    const nn::Likelihood likelihood = nn::evaluate(context_, *transformer_, ids, options);
    HeldoutLoss& loss = report.by_label[text.label];
    loss.nll_per_token =
        likelihood.nll / static_cast<double>(std::max<std::int64_t>(1, likelihood.tokens));
    const double bytes_per_token =
        static_cast<double>(text.bytes) / std::max(1.0, static_cast<double>(text.ids.size()));
    loss.nll_per_byte = bytes_per_token > 0 ? loss.nll_per_token / bytes_per_token : 0;
    report.mean.nll_per_token += loss.nll_per_token / static_cast<double>(heldout_.size());
    report.mean.nll_per_byte += loss.nll_per_byte / static_cast<double>(heldout_.size());
  }
  return report;
}

void Trainer::save(const std::string& directory) const {
  models::save_model(*transformer_, directory, DType::kF32);
  io::TrainingState state;
  state.set_integer("step", step_);
  state.set_integer("total_steps", total_steps_);
  state.set_integer("seed", static_cast<std::int64_t>(config_.seed));
  const Shape shape{transformer_->parameters().count()};
  state.add("adam.m", shape, std::span<const float>(adam_m_.span<float>()));
  state.add("adam.v", shape, std::span<const float>(adam_v_.span<float>()));
  state.save((std::filesystem::path(directory) / kStateFile).string());
}

void Trainer::restore(const std::string& directory) {
  nn::TransformerConfig saved = models::read_config(directory);
  models::FileWeights weights(directory, saved);
  weights.check(transformer_->specs());
  const io::TrainingStateReader state((std::filesystem::path(directory) / kStateFile).string());
  const Shape shape{transformer_->parameters().count()};
  state.read("adam.m", shape, adam_m_.span<float>());
  state.read("adam.v", shape, adam_v_.span<float>());
  step_ = state.integer("step");
  if (total_steps_ == 0) total_steps_ = state.integer("total_steps");
  ParameterSet& parameters = transformer_->parameters();
  for (int i = 0; i < static_cast<int>(parameters.specs().size()); ++i) {
    weights.read(parameters.specs()[static_cast<std::size_t>(i)], parameters.value(i));
  }
  transformer_->repack(context_);
}

}  // namespace conclave::train
