#include "nn/transformer.h"

#include <algorithm>
#include <cmath>

namespace conclave::nn {
namespace {

bool is_quantised(const WeightSource& source, const ParamSpec& spec) {
  const std::optional<QuantType> type = source.block_type(spec);
  return type && quant_info(*type).block_count > 1;
}

// Stacked weights of equal columns as blocks.
void load_blocks(ops::Context& context, WeightSource& source, std::span<const ParamSpec> parts,
                 ops::PackedMatrix& matrix) {
  std::vector<AlignedBuffer> staging;
  std::vector<ops::BlockRows> rows;
  for (const ParamSpec& part : parts) {
    const QuantType type = *source.block_type(part);
    const auto bytes = static_cast<std::size_t>(part.shape[0] * quant_bytes(type, part.shape[1]));
    staging.emplace_back(bytes);
    source.read_blocks(part, {staging.back().data(), bytes});
    rows.push_back({type, part.shape[0], {staging.back().data(), bytes}});
  }
  matrix.pack_blocks(context, parts[0].shape[1], rows);
}

}  // namespace

Transformer::Transformer(TransformerConfig config) : config_(std::move(config)) {
  validate(config_);
  std::vector<int> n_experts_L;
  for (const moe::LayerConfig& ffn : config_.ffn_L) n_experts_L.push_back(ffn.n_experts());
  store_ = std::make_unique<moe::ResidentStore>(n_experts_L);
  blocks_.resize(static_cast<std::size_t>(config_.n_layers));
  bias_index_L_.assign(static_cast<std::size_t>(config_.n_layers), -1);
  declare();
  build_rope();
}

void Transformer::place(ops::Linear& linear, int first, int n_parts, bool full_precision) {
  linears_.push_back({&linear, first, n_parts, full_precision});
}

void Transformer::declare() {
  const std::int64_t V = config_.vocab_size, D = config_.d_model;
  const int embedding = parameters_.add({Role::kEmbedding}, {V, D}, true);
  for (int layer = 0; layer < config_.n_layers; ++layer) declare_layer(layer);
  vectors_.push_back({&final_norm_, parameters_.add({Role::kFinalNorm}, {D}, false)});
  const int head =
      config_.tie_embeddings ? embedding : parameters_.add({Role::kHead}, {V, D}, true);
  place(head_, head, 1);
}

void Transformer::declare_layer(int layer) {
  const std::int64_t D = config_.d_model, Q = config_.head_dim;
  const std::int64_t H = config_.n_heads, G = config_.n_kv_heads;
  BlockWeights& block = blocks_[static_cast<std::size_t>(layer)];
  const moe::LayerConfig& ffn = config_.ffn_L[static_cast<std::size_t>(layer)];
  const auto add = [&](Role role, Shape shape, int expert = -1) {
    return parameters_.add({role, layer, expert}, shape, shape.rank() > 1);
  };

  vectors_.push_back({&block.attn_norm, add(Role::kAttnNorm, {D})});
  const int query = add(Role::kQuery, {H * Q, D});
  add(Role::kKey, {G * Q, D});
  add(Role::kValue, {G * Q, D});
  place(block.qkv, query, 3);
  place(block.attn_out, add(Role::kAttnOut, {D, H * Q}), 1);
  vectors_.push_back({&block.ffn_norm, add(Role::kFfnNorm, {D})});

  if (!ffn.dense()) {
    const moe::RouterTraits& traits = moe::router_traits(ffn.router.kind);
    const std::int64_t E = ffn.n_experts();
    if (traits.needs_logits) place(block.ffn.router, add(Role::kRouter, {E, D}), 1, true);
    if (traits.needs_noise_logits) {
      place(block.ffn.router_noise, add(Role::kRouterNoise, {E, D}), 1, true);
    }
    if (ffn.expert_bias) {
      bias_index_L_[static_cast<std::size_t>(layer)] =
          parameters_.add({Role::kExpertBias, layer}, {E}, false, /*trained=*/false);
    }
  }
  for (int expert = 0; expert < ffn.n_experts(); ++expert) {
    moe::ExpertWeights& weights = store_->at(layer, expert);
    const int gate = add(Role::kExpertGate, {ffn.d_expert, D}, expert);
    add(Role::kExpertUp, {ffn.d_expert, D}, expert);
    place(weights.gate_up, gate, 2);
    place(weights.down, add(Role::kExpertDown, {D, ffn.d_expert}, expert), 1);
  }
  if (ffn.d_shared > 0) {
    const int gate = add(Role::kSharedGate, {ffn.d_shared, D});
    add(Role::kSharedUp, {ffn.d_shared, D});
    place(block.ffn.shared_gate_up, gate, 2);
    place(block.ffn.shared_down, add(Role::kSharedDown, {D, ffn.d_shared}), 1);
  }
}

// cos and sin of every position and pair, computed as the reference implementations do: inverse
// frequencies rounded to f32, the angle a product of two f32.
void Transformer::build_rope() {
  const int dim = config_.rope.rotary_dim > 0 ? config_.rope.rotary_dim : config_.head_dim;
  const std::int64_t positions = config_.max_positions;
  const int half = dim / 2;
  rope_cos_sin_.resize(static_cast<std::size_t>(positions * dim));
  std::vector<float> inv_freq(static_cast<std::size_t>(half));
  for (int i = 0; i < half; ++i) {
    inv_freq[static_cast<std::size_t>(i)] =
        static_cast<float>(1.0 / std::pow(config_.rope.theta, 2.0 * i / dim));
  }
  for (std::int64_t p = 0; p < positions; ++p) {
    float* row = rope_cos_sin_.data() + p * dim;
    for (int i = 0; i < half; ++i) {
      const float angle = static_cast<float>(p) * inv_freq[static_cast<std::size_t>(i)];
      row[i] = static_cast<float>(std::cos(static_cast<double>(angle)));
      row[half + i] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  }
  rope_ = {positions, dim, rope_cos_sin_};
}

void Transformer::load_for_training(ops::Context& context, WeightSource& source, DType compute) {
  parameters_.allocate(/*with_gradients=*/true);
  for (int i = 0; i < static_cast<int>(specs().size()); ++i) {
    source.read(specs()[static_cast<std::size_t>(i)], parameters_.value(i));
  }
  embedding_ = parameters_.value(0);
  for (const VectorPlace& v : vectors_) {
    *v.weight = {parameters_.value(v.index).data, parameters_.gradient(v.index).data};
  }
  for (const LinearPlace& l : linears_) {
    l.linear->compute = l.full_precision ? DType::kF32 : compute;
    l.linear->w = parameters_.value(l.first, l.n_parts);
    l.linear->dw = parameters_.gradient(l.first, l.n_parts);
  }
  for (int layer = 0; layer < config_.n_layers; ++layer) {
    const std::span<float> bias = expert_bias(layer);
    if (!bias.empty()) blocks_[static_cast<std::size_t>(layer)].ffn.expert_bias_E = bias.data();
  }
  repack(context);
}

void Transformer::repack(ops::Context& context) {
  for (const LinearPlace& l : linears_) ops::linear_repack(context, *l.linear);
}

void Transformer::load_for_inference(ops::Context& context, WeightSource& source, DType compute) {
  const auto keep = [&](int index) {
    const ParamSpec& spec = specs()[static_cast<std::size_t>(index)];
    owned_.emplace_back(DType::kF32, spec.shape);
    const MatrixView<float> view = owned_.back().matrix<float>();
    source.read(spec, view);
    return view;
  };
  for (const VectorPlace& v : vectors_) v.weight->w = keep(v.index).data;
  for (int layer = 0; layer < config_.n_layers; ++layer) {
    const int bias = bias_index_L_[static_cast<std::size_t>(layer)];
    if (bias >= 0) blocks_[static_cast<std::size_t>(layer)].ffn.expert_bias_E = keep(bias).data;
  }
  FloatMatrix staging;
  for (const LinearPlace& l : linears_) load_linear(context, source, compute, l, staging);
  if (!is_quantised(source, specs()[0])) {
    embedding_ = keep(0);
  } else if (config_.tie_embeddings) {
    quantised_embedding_ = &head_.forward;
  } else {
    load_blocks(context, source, std::span(specs()).first(1), embedding_blocks_);
    quantised_embedding_ = &embedding_blocks_;
  }
}

// One linear map at a time, so that memory stays at one copy.
void Transformer::load_linear(ops::Context& context, WeightSource& source, DType compute,
                              const LinearPlace& l, FloatMatrix& staging) {
  const auto parts = std::span(specs()).subspan(static_cast<std::size_t>(l.first),
                                                static_cast<std::size_t>(l.n_parts));
  const auto quantised = [&](const ParamSpec& spec) { return is_quantised(source, spec); };
  if (!l.full_precision && std::ranges::all_of(parts, quantised)) {
    load_blocks(context, source, parts, l.linear->forward);
    return;
  }
  std::int64_t rows = 0;
  for (const ParamSpec& part : parts) rows += part.shape[0];
  const MatrixView<float> whole = staging.resize(rows, parts[0].shape[1]);
  std::int64_t row = 0;
  for (const ParamSpec& part : parts) {
    source.read(part, whole.rows_range(row, part.shape[0]));
    row += part.shape[0];
  }
  l.linear->compute = l.full_precision ? DType::kF32 : compute;
  l.linear->forward.pack(context, whole, l.linear->compute);
}

std::span<float> Transformer::expert_bias(int layer) {
  const int index = bias_index_L_[static_cast<std::size_t>(layer)];
  if (index < 0 || !parameters_.allocated()) return {};
  const MatrixView<float> view = parameters_.value(index);
  return {view.data, static_cast<std::size_t>(view.cols)};
}

BlockContext Transformer::block_context(ops::Context& context, const Batch& batch,
                                        const ForwardOptions& options,
                                        const Activations& activations) {
  moe::RoutingContext routing{batch.ids_T, options.rng, options.training, options.losses};
  return {context, config_,         *store_, batch, rope_, activations.positions_T,
          routing, activations.keep};
}

void Transformer::forward(ops::Context& context, const Batch& batch, const ForwardOptions& options,
                          Activations& activations) {
  const std::int64_t T = batch.n_tokens(), D = config_.d_model;
  const auto L = static_cast<std::size_t>(config_.n_layers);
  activations.positions_T.resize(static_cast<std::size_t>(T));
  for (const SequenceChunk& chunk : batch.chunks) {
    if (chunk.first_position + chunk.row_count > rope_.positions) {
      fail(ErrorKind::kInvalidArgument,
           "the sequence has {} tokens, but the model's context is {}: shorten it",
           chunk.first_position + chunk.row_count, rope_.positions);
    }
    for (std::int64_t i = 0; i < chunk.row_count; ++i) {
      activations.positions_T[static_cast<std::size_t>(chunk.row_begin + i)] =
          static_cast<std::int32_t>(chunk.first_position + i);
    }
  }
  const bool keep_all = activations.keep && !activations.recompute;
  activations.blocks.resize(keep_all ? L : 1);
  activations.inputs.resize(activations.recompute ? L : 0);
  activations.losses_L.resize(L);

  BlockContext block = block_context(context, batch, options, activations);
  block.keep = keep_all;
  const MatrixView<float> x = activations.x.resize(T, D);
  if (quantised_embedding_ != nullptr) {
    ops::embedding_forward(context, *quantised_embedding_, batch.ids_T, x);
  } else {
    ops::embedding_forward(context, embedding_, batch.ids_T, x);
  }
  for (std::size_t layer = 0; layer < L; ++layer) {
    if (activations.recompute) {
      const MatrixView<float> input = activations.inputs[layer].resize(T, D);
      std::copy_n(x.data, T * D, input.data);
    }
    BlockSaved& saved = activations.blocks[keep_all ? layer : 0];
    block_forward(block, static_cast<int>(layer), blocks_[layer], x, saved);
    activations.losses_L[layer] = saved.ffn.losses;
    if (options.observer && !config_.ffn_L[layer].dense()) {
      options.observer(static_cast<int>(layer), saved.ffn.decision, saved.ffn.plan);
    }
  }
  ops::rmsnorm_forward(context, x, final_norm_.w, config_.norm_eps, activations.out.resize(T, D),
                       activations.rstd.resize(T, 1).data);
}

void Transformer::logits(ops::Context& context, MatrixView<const float> hidden,
                         MatrixView<float> out) const {
  ops::linear_forward(context, head_, hidden, out);
}

void Transformer::backward(ops::Context& context, const Batch& batch, const ForwardOptions& options,
                           Activations& activations, MatrixView<float> d_out) {
  CONCLAVE_CHECK(activations.keep, "the forward pass kept nothing for a backward pass");
  const BlockContext block = block_context(context, batch, options, activations);
  const MatrixView<float> dx = activations.d_stream.resize(d_out.rows, d_out.cols);
  ops::rmsnorm_backward(context, activations.x.view(), final_norm_.w, activations.rstd.data(),
                        d_out, dx, /*add_to_dx=*/false, final_norm_.dw);
  for (int layer = config_.n_layers - 1; layer >= 0; --layer) {
    const auto l = static_cast<std::size_t>(layer);
    BlockSaved& saved = activations.blocks[activations.recompute ? 0 : l];
    if (activations.recompute) {
      block_forward(block, layer, blocks_[l], activations.inputs[l].view(), saved);
    }
    block_backward(block, layer, blocks_[l], saved, dx, activations.gradients);
  }
  ops::embedding_backward(context, batch.ids_T, dx, parameters_.gradient(0));
}

std::unique_ptr<KvCache> Transformer::new_cache(std::int64_t capacity) const {
  return std::make_unique<KvCache>(config_.n_layers, config_.n_kv_heads, config_.head_dim,
                                   capacity);
}

std::int64_t Transformer::weight_bytes() const {
  std::int64_t bytes = 0;
  for (const LinearPlace& l : linears_) {
    bytes += static_cast<std::int64_t>(l.linear->forward.bytes() + l.linear->backward.bytes());
  }
  bytes += static_cast<std::int64_t>(embedding_blocks_.bytes());
  for (const Tensor& tensor : owned_) bytes += static_cast<std::int64_t>(tensor.bytes());
  if (parameters_.allocated()) bytes += 2 * parameters_.count() * 4;
  return bytes;
}

}  // namespace conclave::nn
