// One training run as an object: it takes steps, measures, and saves and restores its whole state.
// A step is a function of (weights, optimiser state, recipe, data, step number) alone, so a run
// that was saved and resumed gives the same bits as one that was not, on any number of threads.
//
// Loss = mean NLL of the batch's tokens + sum of the auxiliary losses' means over MoE layers and
// micro-batches, each times its coefficient. Optimiser: AdamW (Loshchilov & Hutter 2019).
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "moe/statistics.h"
#include "nn/transformer.h"
#include "train/config.h"
#include "train/data.h"

namespace conclave::train {

struct StepReport {
  std::int64_t step = 0;           // steps done, this one included
  std::int64_t tokens = 0;         // trained on so far
  double loss = 0;                 // mean NLL of the step's tokens, nats
  moe::AuxiliaryLosses auxiliary;  // means over layers and micro-batches, unweighted
  double learning_rate = 0;
  double gradient_norm = 0;  // before clipping
  double seconds = 0;
  std::vector<moe::RoutingStatistics> routing_L;  // of this step; empty entries for dense layers
};

struct HeldoutLoss {
  double nll_per_token = 0;  // nats
  double nll_per_byte = 0;
};
struct HeldoutReport {
  std::map<std::string, HeldoutLoss> by_label;
  HeldoutLoss mean;  // over labels
  std::vector<moe::RoutingStatistics> routing_L;
};

// Largest MaxVio of any layer; 0 where nothing was routed.
double worst_violation(const std::vector<moe::RoutingStatistics>& routing_L);

class Trainer {
 public:
  // `data` and `heldout` are encoded with the tokenizer whose size is config.model.vocab_size.
  Trainer(ops::Context& context, TrainConfig config, TrainingData data,
          std::vector<LabelledTokens> heldout);

  // Total optimiser steps of the schedule. Where the recipe leaves it open, it is unknown (0) until
  // set_total_steps.
  std::int64_t total_steps() const { return total_steps_; }
  void set_total_steps(std::int64_t steps) { total_steps_ = steps; }
  std::int64_t steps_done() const { return step_; }

  // One optimiser step. Throws Error(kNumeric) before the update where loss or gradient is not
  // finite, naming the layer and expert where it shows first; weights are then unchanged.
  StepReport step();

  // At most `tokens` (0: all) of each held-out text.
  HeldoutReport evaluate_heldout(std::int64_t tokens);

  // Writes model and training state as files of `directory` / restores both.
  void save(const std::string& directory) const;
  void restore(const std::string& directory);

  nn::Transformer& transformer() { return *transformer_; }
  const TrainConfig& config() const { return config_; }
  // Floating-point operations of one trained token: 6 a multiplying weight and the attention.
  double flops_per_token() const;

 private:
  struct MicroBatch {
    std::vector<std::int32_t> ids_T, targets_T;
  };
  MicroBatch micro_batch(std::int64_t index);
  // Returns the summed NLL of the tokens.
  double forward_backward(const MicroBatch& micro, std::int64_t micro_index, StepReport& report);
  double checked_gradient_norm();
  void update(double learning_rate, double gradient_norm);
  void balance_biases(const StepReport& report);
  int micro_batches() const { return config_.batch / config_.micro_batch; }

  ops::Context& context_;
  TrainConfig config_;
  TrainingData data_;
  std::vector<LabelledTokens> heldout_;
  std::unique_ptr<nn::Transformer> transformer_;
  std::vector<std::unique_ptr<nn::KvCache>> caches_;
  nn::Activations activations_;
  FloatMatrix d_out_;
  Tensor adam_m_, adam_v_;
  int moe_layers_ = 0;
  std::int64_t step_ = 0;
  std::int64_t total_steps_ = 0;
};

}  // namespace conclave::train
