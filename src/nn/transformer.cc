#include "nn/transformer.h"

#include <algorithm>

#include "ops/rowwise.h"

namespace conclave::nn {

Transformer::Transformer(TransformerConfig config) : config_(std::move(config)) {
  validate(config_);
  std::vector<int> n_experts_L;
  for (const moe::LayerConfig& ffn : config_.ffn_L) n_experts_L.push_back(ffn.n_experts());
  store_ = std::make_unique<moe::ResidentStore>(n_experts_L);
  blocks_.resize(static_cast<std::size_t>(config_.n_layers));
  bias_index_L_.assign(static_cast<std::size_t>(config_.n_layers), -1);
  declare();
  const int rotary = config_.rope.rotary_dim;
  rope_ = RopeAngles(config_.rope, rotary > 0 ? rotary : config_.head_dim);
}

int Transformer::add(Role role, Shape shape, int layer, int expert) {
  return parameters_.add({role, layer, expert}, shape, shape.rank() > 1);
}

void Transformer::place(ops::Linear& linear, int first, int n_parts, bool full_precision) {
  linears_.push_back({&linear, first, n_parts, full_precision});
}

void Transformer::place(VectorWeight& vector, int first, int n_parts) {
  vectors_.push_back({&vector.w, &vector.dw, first, n_parts});
}

void Transformer::place(float*& vector, int first, int n_parts) {
  vectors_.push_back({&vector, nullptr, first, n_parts});
}

void Transformer::declare_norm(NormWeights& norm, Role weight, Role bias, int layer) {
  place(norm.w, add(weight, {config_.d_model}, layer));
  if (config_.norm_bias) place(norm.b, add(bias, {config_.d_model}, layer));
}

void Transformer::declare() {
  const std::int64_t V = config_.vocab_size, D = config_.d_model;
  const int embedding = add(Role::kEmbedding, {V, D});
  for (int layer = 0; layer < config_.n_layers; ++layer) declare_layer(layer);
  declare_norm(final_norm_, Role::kFinalNorm, Role::kFinalNormBias, -1);
  place(head_, config_.tie_embeddings ? embedding : add(Role::kHead, {V, D}), 1);
  if (config_.head_bias) place(head_bias_, add(Role::kHeadBias, {V}));
}

void Transformer::declare_layer(int layer) {
  BlockWeights& block = blocks_[static_cast<std::size_t>(layer)];
  declare_norm(block.attn_norm, Role::kAttnNorm, Role::kAttnNormBias, layer);
  if (config_.attention.latent.enabled()) {
    declare_latent_attention(layer);
  } else {
    declare_attention(layer);
  }
  declare_norm(block.ffn_norm, Role::kFfnNorm, Role::kFfnNormBias, layer);
  const moe::LayerConfig& ffn = config_.ffn_L[static_cast<std::size_t>(layer)];
  if (!ffn.dense()) declare_router(layer);
  declare_experts(layer);
  if (ffn.d_shared > 0) declare_shared_expert(layer);
}

void Transformer::declare_attention(int layer) {
  const std::int64_t D = config_.d_model, Q = config_.head_dim;
  const std::int64_t H = config_.n_heads, G = config_.n_kv_heads;
  const AttentionConfig& attention = config_.attention;
  BlockWeights& block = blocks_[static_cast<std::size_t>(layer)];
  const int query = add(Role::kQuery, {H * Q, D}, layer);
  add(Role::kKey, {G * Q, D}, layer);
  add(Role::kValue, {G * Q, D}, layer);
  place(block.qkv, query, 3);
  if (attention.qkv_bias) {
    const int bias = add(Role::kQueryBias, {H * Q}, layer);
    add(Role::kKeyBias, {G * Q}, layer);
    add(Role::kValueBias, {G * Q}, layer);
    place(block.qkv_bias, bias, 3);
  }
  if (attention.qk_norm == QkNorm::kHead || attention.qk_norm == QkNorm::kProjection) {
    const bool whole = attention.qk_norm == QkNorm::kProjection;
    place(block.q_norm, add(Role::kQueryNorm, {whole ? H * Q : Q}, layer));
    place(block.k_norm, add(Role::kKeyNorm, {whole ? G * Q : Q}, layer));
  }
  if (attention.sinks) place(block.sinks, add(Role::kSinks, {H}, layer));
  place(block.attn_out, add(Role::kAttnOut, {D, H * Q}, layer), 1);
  if (attention.out_bias) place(block.attn_out_bias, add(Role::kAttnOutBias, {D}, layer));
}

void Transformer::declare_latent_attention(int layer) {
  const LatentAttention& latent = config_.attention.latent;
  const std::int64_t D = config_.d_model, H = config_.n_heads, Q = config_.head_dim;
  BlockWeights& block = blocks_[static_cast<std::size_t>(layer)];
  LatentWeights& weights = block.latent;
  if (latent.q_rank > 0) {
    place(weights.query_down, add(Role::kQueryDown, {latent.q_rank, D}, layer), 1);
    if (config_.attention.qkv_bias) {
      place(weights.query_bias, add(Role::kQueryDownBias, {latent.q_rank}, layer));
    }
    place(weights.query_norm, add(Role::kQueryDownNorm, {latent.q_rank}, layer));
    place(block.qkv, add(Role::kQueryUp, {H * Q, latent.q_rank}, layer), 1);
  } else {
    place(block.qkv, add(Role::kQuery, {H * Q, D}, layer), 1);
  }
  place(weights.kv_down, add(Role::kKvDown, {latent.kv_rank + latent.rope_dim, D}, layer), 1);
  if (config_.attention.qkv_bias) {
    place(weights.kv_bias, add(Role::kKvDownBias, {latent.kv_rank + latent.rope_dim}, layer));
  }
  place(weights.kv_norm, add(Role::kKvDownNorm, {latent.kv_rank}, layer));
  weights.key_up.resize(static_cast<std::size_t>(H));
  weights.value_up.resize(static_cast<std::size_t>(H));
  for (int h = 0; h < config_.n_heads; ++h) {
    const auto head = static_cast<std::size_t>(h);
    place(weights.key_up[head], add(Role::kKeyUp, {latent.kv_rank, latent.nope_dim}, layer, h), 1);
    place(weights.value_up[head], add(Role::kValueUp, {latent.value_dim, latent.kv_rank}, layer, h),
          1);
  }
  place(block.attn_out, add(Role::kAttnOut, {D, H * latent.value_dim}, layer), 1);
  if (config_.attention.out_bias) {
    place(block.attn_out_bias, add(Role::kAttnOutBias, {D}, layer));
  }
}

void Transformer::declare_router(int layer) {
  const moe::LayerConfig& ffn = config_.ffn_L[static_cast<std::size_t>(layer)];
  moe::LayerWeights& weights = blocks_[static_cast<std::size_t>(layer)].ffn;
  const moe::RouterTraits& traits = moe::router_traits(ffn.router.kind);
  const std::int64_t E = ffn.n_experts(), D = config_.d_model;
  if (traits.needs_logits) place(weights.router, add(Role::kRouter, {E, D}, layer), 1, true);
  if (traits.needs_noise_logits) {
    place(weights.router_noise, add(Role::kRouterNoise, {E, D}, layer), 1, true);
  }
  if (ffn.router_bias) place(weights.router_bias_E, add(Role::kRouterBias, {E}, layer));
  if (ffn.expert_bias) {
    bias_index_L_[static_cast<std::size_t>(layer)] =
        parameters_.add({Role::kExpertBias, layer}, {E}, false, /*trained=*/false);
  }
}

void Transformer::declare_experts(int layer) {
  const moe::LayerConfig& ffn = config_.ffn_L[static_cast<std::size_t>(layer)];
  const std::int64_t D = config_.d_model, F = ffn.d_expert;
  for (int expert = 0; expert < ffn.n_experts(); ++expert) {
    moe::ExpertWeights& weights = store_->at(layer, expert);
    const int gate = add(Role::kExpertGate, {F, D}, layer, expert);
    add(Role::kExpertUp, {F, D}, layer, expert);
    place(weights.gate_up, gate, 2);
    place(weights.down, add(Role::kExpertDown, {D, F}, layer, expert), 1);
    if (!ffn.linear_bias) continue;
    const int bias = add(Role::kExpertGateBias, {F}, layer, expert);
    add(Role::kExpertUpBias, {F}, layer, expert);
    place(weights.gate_up_bias, bias, 2);
    place(weights.down_bias, add(Role::kExpertDownBias, {D}, layer, expert));
  }
}

void Transformer::declare_shared_expert(int layer) {
  const moe::LayerConfig& ffn = config_.ffn_L[static_cast<std::size_t>(layer)];
  moe::LayerWeights& weights = blocks_[static_cast<std::size_t>(layer)].ffn;
  const std::int64_t D = config_.d_model, F = ffn.d_shared;
  const int gate = add(Role::kSharedGate, {F, D}, layer);
  add(Role::kSharedUp, {F, D}, layer);
  place(weights.shared_gate_up, gate, 2);
  place(weights.shared_down, add(Role::kSharedDown, {D, F}, layer), 1);
  if (ffn.linear_bias) {
    const int bias = add(Role::kSharedGateBias, {F}, layer);
    add(Role::kSharedUpBias, {F}, layer);
    place(weights.shared_gate_up_bias, bias, 2);
    place(weights.shared_down_bias, add(Role::kSharedDownBias, {D}, layer));
  }
  if (ffn.shared_gate) {
    place(weights.shared_gate, add(Role::kSharedExpertGate, {1, D}, layer), 1, true);
  }
}

void Transformer::load_for_training(ops::Context& context, WeightSource& source, DType compute) {
  compute_ = compute;
  check_trainable(config_);
  parameters_.allocate(/*with_gradients=*/true);
  for (int i = 0; i < static_cast<int>(specs().size()); ++i) {
    source.read(specs()[static_cast<std::size_t>(i)], parameters_.value(i));
  }
  embedding_ = parameters_.value(0);
  for (const VectorPlace& v : vectors_) {
    *v.w = parameters_.value(v.first).data;
    if (v.dw != nullptr) *v.dw = parameters_.gradient(v.first).data;
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
  return {context,
          config_,
          *store_,
          batch,
          {rope_tables_[0], rope_tables_[1]},
          activations.positions_T,
          routing,
          activations.keep};
}

void Transformer::set_positions(const Batch& batch, Activations& activations) {
  activations.positions_T.resize(static_cast<std::size_t>(batch.n_tokens()));
  std::int64_t end = 1;
  for (const SequenceChunk& chunk : batch.chunks) {
    const std::int64_t length = chunk.first_position + chunk.row_count;
    if (length > config_.max_positions) {
      fail(ErrorKind::kInvalidArgument,
           "the sequence has {} tokens, but the model's context is {}: shorten it", length,
           config_.max_positions);
    }
    end = std::max(end, length);
    for (std::int64_t i = 0; i < chunk.row_count; ++i) {
      activations.positions_T[static_cast<std::size_t>(chunk.row_begin + i)] =
          static_cast<std::int32_t>(chunk.first_position + i);
    }
  }
  rope_tables_[0] = &rope_.table(end, false);
  rope_tables_[1] = rope_.original_positions() > 0 ? &rope_.table(end, true) : nullptr;
}

void Transformer::forward(ops::Context& context, const Batch& batch, const ForwardOptions& options,
                          Activations& activations) {
  const std::int64_t T = batch.n_tokens(), D = config_.d_model;
  const auto L = static_cast<std::size_t>(config_.n_layers);
  set_positions(batch, activations);
  for (const SequenceChunk& chunk : batch.chunks) {
    chunk.cache->reserve(chunk.first_position + chunk.row_count);
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
  if (config_.embedding_scale != 1) ops::scale(context, config_.embedding_scale, x);
  for (std::size_t layer = 0; layer < L; ++layer) {
    if (activations.recompute) {
      const MatrixView<float> input = activations.inputs[layer].resize(T, D);
      std::copy_n(x.data, T * D, input.data);
    }
    if (options.layer_observer) options.layer_observer(static_cast<int>(layer), x);
    BlockSaved& saved = activations.blocks[keep_all ? layer : 0];
    block_forward(block, static_cast<int>(layer), blocks_[layer], x, saved);
    activations.losses_L[layer] = saved.ffn.losses;
    if (options.observer && !config_.ffn_L[layer].dense()) {
      options.observer(static_cast<int>(layer), saved.ffn.decision, saved.ffn.plan);
    }
  }
  const MatrixView<float> out = activations.out.resize(T, D);
  norm_forward(context, config_, x, final_norm_, out, activations.rstd);
  if (options.layer_observer) options.layer_observer(config_.n_layers, out);
}

void Transformer::logits(ops::Context& context, MatrixView<const float> hidden,
                         MatrixView<float> out) const {
  const ops::PartClock::Scope part(context.parts, ops::ModelPart::kHead);
  ops::linear_forward(context, head_, hidden, out);
  if (head_bias_.w != nullptr) ops::add_bias(context, head_bias_.w, out);
  if (config_.logit_scale != 1) ops::scale(context, config_.logit_scale, out);
}

void Transformer::backward(ops::Context& context, const Batch& batch, const ForwardOptions& options,
                           Activations& activations, MatrixView<float> d_out) {
  CONCLAVE_CHECK(activations.keep, "the forward pass kept nothing for a backward pass");
  const BlockContext block = block_context(context, batch, options, activations);
  const MatrixView<float> dx = activations.d_stream.resize(d_out.rows, d_out.cols);
  ops::rmsnorm_backward(context, activations.x.view(), final_norm_.w.w, activations.rstd.data(),
                        d_out, dx, /*add_to_dx=*/false, final_norm_.w.dw);
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

ops::KvType Transformer::kv_type() const { return kv_type_.value_or(cache_type(compute_)); }

std::shared_ptr<KvPool> Transformer::new_kv_pool(ops::KvType type) const {
  return std::make_shared<KvPool>(config_.n_layers, config_.cache_heads(), config_.cache_dim(),
                                  type);
}

std::unique_ptr<KvCache> Transformer::new_cache(std::int64_t length_limit) const {
  return std::make_unique<KvCache>(new_kv_pool(), length_limit);
}

bool Transformer::same_angles(const KvCache& a, const KvCache& b) const {
  const std::int64_t original = rope_.original_positions();
  return original == 0 || (a.length_limit() > original) == (b.length_limit() > original);
}

std::int64_t Transformer::cache_bytes(std::int64_t positions) const {
  return KvCache::bytes(config_.n_layers, config_.cache_heads(), config_.cache_dim(), positions,
                        kv_type());
}

PassWeights Transformer::pass_weights() const {
  PassWeights sum;
  for (const LinearPlace& l : linears_) {
    const ops::PackedMatrix& packed = l.linear->forward;
    const Role role = specs()[static_cast<std::size_t>(l.first)].id.role;
    if (l.linear == &head_ || role == Role::kExpertGate || role == Role::kExpertDown) continue;
    sum.bytes += static_cast<std::int64_t>(packed.bytes());
    sum.count += packed.n() * packed.k();
  }
  return sum;
}

std::int64_t Transformer::weight_bytes() const {
  std::int64_t bytes = 0;
  for (const LinearPlace& l : linears_) {
    bytes += static_cast<std::int64_t>(l.linear->forward.bytes() + l.linear->backward.bytes());
  }
  bytes += static_cast<std::int64_t>(embedding_blocks_.forward.bytes());
  for (const Tensor& tensor : owned_) bytes += static_cast<std::int64_t>(tensor.bytes());
  if (parameters_.allocated()) bytes += 2 * parameters_.count() * 4;
  return bytes;
}

}  // namespace conclave::nn
