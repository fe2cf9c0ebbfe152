// A decoder model: embedding, blocks, final norm, output head. The one definition that training,
// prefill and decoding run. Shape letters: T tokens, D width, V vocabulary, L layers.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "nn/block.h"
#include "nn/config.h"
#include "tensor/parameters.h"
#include "tensor/weight_arena.h"

namespace conclave::nn {

// Sees every routing decision as it is made: statistics, inspection, traces.
using RoutingObserver =
    std::function<void(int layer, const moe::RoutingDecision&, const moe::DispatchPlan&)>;

// Sees the residual stream [T, D] before layer 0 .. L-1, and as layer L the output of the final
// norm.
using LayerObserver = std::function<void(int layer, MatrixView<const float> x)>;

struct ForwardOptions {
  bool training = false;         // router noise and capacity as in training
  Rng rng{0};                    // randomness of this pass
  moe::LossCoefficients losses;  // of the whole pass; training only
  RoutingObserver observer;      // may be empty
  LayerObserver layer_observer;  // may be empty
};

// Activations of a forward pass. Training keeps one block per layer (or only the blocks' inputs,
// where they are to be recomputed); inference shares one.
struct Activations {
  bool keep = false;       // for a backward pass
  bool recompute = false;  // keep only the blocks' inputs and run each block again in backward
  std::vector<BlockSaved> blocks;
  std::vector<FloatMatrix> inputs;  // [T, D] of each block, with recompute
  FloatMatrix x;                    // [T, D] residual stream after the last block
  FloatMatrix rstd;                 // [T, 1] of the final norm
  FloatMatrix out;                  // [T, D] after the final norm
  std::vector<std::int32_t> positions_T;
  std::vector<moe::AuxiliaryLosses> losses_L;
  FloatMatrix d_stream;  // work space of the backward pass, kept from step to step
  BlockGradients gradients;
};

// Matrices that a pass multiplies by.
struct PassWeights {
  std::int64_t bytes = 0;  // as packed
  std::int64_t count = 0;  // numbers
};

class Transformer {
 public:
  // Checks the configuration and lists the weights; no memory is taken for them yet.
  explicit Transformer(TransformerConfig config);

  const TransformerConfig& config() const { return config_; }
  const std::vector<ParamSpec>& specs() const { return parameters_.specs(); }

  // Training: f32 masters and gradients in flat arrays, packed copies in `compute` type beside
  // them. Call repack after every change of the masters.
  void load_for_training(ops::Context& context, WeightSource& source, DType compute);
  void repack(ops::Context& context);
  ParameterSet& parameters() { return parameters_; }
  const ParameterSet& parameters() const { return parameters_; }

  // Inference: packed weights only, one copy. Weights that the source offers in blocks of a
  // quantised type stay in them; others are packed in `compute` type.
  void load_for_inference(ops::Context& context, WeightSource& source, DType compute);

  moe::ExpertStore& store() { return *store_; }
  // The selection bias of a layer's router, [E]; training only, empty where it has none.
  std::span<float> expert_bias(int layer);

  // Hidden states after the final norm -> activations.out [T, D].
  void forward(ops::Context& context, const Batch& batch, const ForwardOptions& options,
               Activations& activations);
  // logits[rows, V] of any rows of hidden states.
  void logits(ops::Context& context, MatrixView<const float> hidden, MatrixView<float> out) const;
  // d_out[T, D] is the gradient of activations.out; every weight's gradient accumulates. The
  // options must be those of the forward pass.
  void backward(ops::Context& context, const Batch& batch, const ForwardOptions& options,
                Activations& activations, MatrixView<float> d_out);

  // The output head (the embedding's transpose where they are tied).
  const ops::Linear& head() const { return head_; }

  // What new caches keep keys and values in: until it is set, cache_type of the compute type that
  // the weights were loaded for.
  ops::KvType kv_type() const;
  void set_kv_type(ops::KvType type) { kv_type_ = type; }
  // Memory for caches: in kv_type, or in f32 for training.
  std::shared_ptr<KvPool> new_kv_pool() const { return new_kv_pool(kv_type()); }
  std::shared_ptr<KvPool> new_kv_pool(ops::KvType type) const;
  // A cache of a pool of its own, for up to so many positions.
  std::unique_ptr<KvCache> new_cache(std::int64_t length_limit) const;
  // Whether two caches keep equal keys for equal tokens: with longrope, angles depend on how long
  // the sequence may become.
  bool same_angles(const KvCache& a, const KvCache& b) const;
  // Bytes of a cache that holds so many positions.
  std::int64_t cache_bytes(std::int64_t positions) const;
  // What every pass reads whatever its tokens: all matrices but routed experts and the head.
  PassWeights pass_weights() const;
  // Bytes of packed weights (and of masters and gradients, in training).
  std::int64_t weight_bytes() const;

 private:
  struct LinearPlace {  // which weights a linear map is made of
    ops::Linear* linear;
    int first;
    int n_parts;
    bool full_precision;  // routers multiply in f32 whatever the compute type
  };
  struct VectorPlace {  // n_parts vectors, one after the other
    float** w;
    float** dw;  // null: nothing takes its gradient
    int first;
    int n_parts;
  };

  void declare();
  void declare_layer(int layer);
  void declare_attention(int layer);
  void declare_latent_attention(int layer);
  void declare_router(int layer);
  void declare_experts(int layer);
  void declare_shared_expert(int layer);
  void declare_norm(NormWeights& norm, Role weight, Role bias, int layer);
  int add(Role role, Shape shape, int layer = -1, int expert = -1);
  void place(ops::Linear& linear, int first, int n_parts, bool full_precision = false);
  void place(VectorWeight& vector, int first, int n_parts = 1);
  void place(float*& vector, int first, int n_parts = 1);
  BlockContext block_context(ops::Context& context, const Batch& batch,
                             const ForwardOptions& options, const Activations& activations);
  std::span<const ParamSpec> parts_of(const LinearPlace& place) const;
  void load_linear(ops::Context& context, WeightSource& source, DType compute,
                   const LinearPlace& place, FloatMatrix& staging);
  void load_blocks(ops::Context& context, WeightSource& source,
                   std::span<const LinearPlace> places);
  void set_positions(const Batch& batch, Activations& activations);

  TransformerConfig config_;
  std::optional<ops::KvType> kv_type_;
  DType compute_ = DType::kF32;  // of the products, but for those in full precision
  ParameterSet parameters_;
  WeightArena arena_;  // of quantised weights
  std::unique_ptr<moe::ExpertStore> store_;
  std::vector<BlockWeights> blocks_;
  NormWeights final_norm_;
  MatrixView<const float> embedding_;
  // Where the embedding is quantised, its rows are taken from here; with tied embeddings, from the
  // head.
  const ops::PackedMatrix* quantised_embedding_ = nullptr;
  ops::Linear embedding_blocks_;
  ops::Linear head_;
  VectorWeight head_bias_;
  std::vector<LinearPlace> linears_;
  std::vector<VectorPlace> vectors_;
  std::vector<int> bias_index_L_;
  std::vector<Tensor> owned_;  // norms, biases and the embedding, in inference
  RopeAngles rope_;
  const ops::RopeTable* rope_tables_[2] = {nullptr, nullptr};
};

}  // namespace conclave::nn
