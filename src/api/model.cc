// The installed API over an inference session: checks what the layers below take for granted (ids
// in range, sizes not negative) and keeps the counts of every pass in one place.
//
// Shape letters: T tokens, V vocabulary, E experts, K experts per token.

#include <conclave/model.h>

#include <algorithm>
#include <exception>

#include "api/guard.h"
#include "infer/session.h"
#include "nn/evaluate.h"
#include "sys/thread_pool.h"

namespace conclave {
namespace {

using Ids = std::span<const std::int32_t>;

// Tokens computed together where nothing but the routing is wanted: enough rows for full tiles of
// the matrix products, and a working set that does not grow with the text.
constexpr std::int64_t kRoutingChunk = 512;

DType compute_type(Compute wanted, const std::string& stored_type) {
  if (wanted == Compute::kF32) return DType::kF32;
  if (wanted == Compute::kBF16) return DType::kBF16;
  return models::natural_compute(stored_type);
}

std::optional<ops::KvType> kv_type(KeyValues wanted) {
  switch (wanted) {
    case KeyValues::kAuto:
      return {};
    case KeyValues::kF32:
      return ops::KvType::kF32;
    case KeyValues::kF16:
      return ops::KvType::kF16;
    case KeyValues::kQ8_0:
      return ops::KvType::kQ8_0;
  }
  fail(ErrorKind::kInvalidArgument, "key_values: found {}, which is none of the enumerators",
       static_cast<int>(wanted));
}

infer::GenerateOptions convert(const GenerateOptions& o) {
  if (o.max_tokens < 0) {
    fail(ErrorKind::kInvalidArgument, "max_tokens: found {}, expected 0 or more", o.max_tokens);
  }
  if (o.prefill_chunk < 1) {
    fail(ErrorKind::kInvalidArgument, "prefill_chunk: found {}, expected 1 or more",
         o.prefill_chunk);
  }
  infer::GenerateOptions result;
  infer::SamplingOptions& s = result.sampling;
  s.temperature = o.sampling.temperature;
  s.top_k = o.sampling.top_k;
  s.top_p = o.sampling.top_p;
  s.min_p = o.sampling.min_p;
  s.repeat_penalty = o.sampling.repeat_penalty;
  s.presence_penalty = o.sampling.presence_penalty;
  s.frequency_penalty = o.sampling.frequency_penalty;
  s.penalty_window = o.sampling.penalty_window;
  s.logit_bias = o.sampling.logit_bias;
  s.seed = o.sampling.seed;
  result.max_tokens = o.max_tokens;
  result.stop = o.stop;
  result.ignore_eos = o.ignore_eos;
  result.prefill_chunk = o.prefill_chunk;
  return result;
}

FinishReason convert(infer::FinishReason reason) {
  switch (reason) {
    case infer::FinishReason::kStop:
      return FinishReason::kStop;
    case infer::FinishReason::kLength:
      return FinishReason::kLength;
    case infer::FinishReason::kCancelled:
      return FinishReason::kCancelled;
  }
  return FinishReason::kStop;
}

LayerStatistics convert(int layer, const moe::RoutingStatistics& counts) {
  const auto per_expert = counts.tokens_per_expert();
  const moe::BalanceFigures balance = counts.balance();
  LayerStatistics result;
  result.layer = layer;
  result.n_experts = counts.n_experts();
  result.tokens = counts.tokens();
  result.choices = counts.choices();
  result.tokens_per_expert_E.assign(per_expert.begin(), per_expert.end());
  result.load_entropy = balance.load_entropy;
  result.router_entropy = balance.router_entropy;
  result.max_violation = balance.max_violation;
  result.dead_experts = balance.dead_experts;
  return result;
}

}  // namespace

struct Model::Impl {
  Impl(const std::string& directory, const LoadOptions& options)
      : info(read_model_info(directory)),
        dtype(compute_type(options.compute, info.stored_type)),
        context(options.threads == 0 ? sys::default_thread_count() : options.threads),
        session(context, directory, {dtype, kv_type(options.key_values)}) {
    reset();
  }

  void reset() {
    session.reset_routing();
    counts_L.assign(info.layers.size(), {});
  }

  void check_ids(Ids ids) const {
    for (std::size_t t = 0; t < ids.size(); ++t) {
      if (ids[t] >= 0 && ids[t] < info.vocab_size) continue;
      fail(ErrorKind::kInvalidArgument, "token {}: found id {}, expected 0 to {}", t, ids[t],
           info.vocab_size - 1);
    }
  }

  std::int64_t window_size(std::int64_t window) const {
    if (window < 0) {
      fail(ErrorKind::kInvalidArgument, "window: found {}, expected 0 or more", window);
    }
    return window == 0 ? info.context : std::min(window, info.context);
  }

  nn::RoutingObserver counting() {
    return [this](int layer, const moe::RoutingDecision& decision, const moe::DispatchPlan&) {
      counts_L[static_cast<std::size_t>(layer)].add(decision);
    };
  }

  std::vector<moe::RoutingStatistics> statistics() const {
    std::vector<moe::RoutingStatistics> all = counts_L;
    for (std::size_t layer = 0; layer < all.size(); ++layer) {
      all[layer].merge(session.routing()[layer]);
    }
    return all;
  }

  Likelihood likelihood(Ids ids, std::int64_t window);
  Routing routing(Ids ids, std::int64_t window);
  void forward(nn::KvCache& cache, Ids ids, std::int64_t position, Routing& routing);

  ModelInfo info;
  DType dtype;
  ops::Context context;
  infer::Session session;
  nn::Activations activations;
  std::vector<moe::RoutingStatistics> counts_L;  // of passes that the session does not make
};

Likelihood Model::Impl::likelihood(Ids ids, std::int64_t window) {
  check_ids(ids);
  if (ids.size() < 2) {
    fail(ErrorKind::kInvalidArgument, "found {} token(s); a likelihood needs at least 2",
         ids.size());
  }
  nn::EvaluateOptions options;
  options.window = window_size(window);
  options.observer = counting();
  const nn::Likelihood found = nn::evaluate(context, session.transformer(), ids, options);
  return {found.nll, found.tokens, 0};
}

void Model::Impl::forward(nn::KvCache& cache, Ids ids, std::int64_t position, Routing& routing) {
  nn::Batch batch;
  batch.ids_T = ids;
  batch.chunks.push_back({&cache, 0, static_cast<std::int64_t>(ids.size()), position});
  std::size_t place = 0;
  nn::ForwardOptions options;
  options.observer = [&](int layer, const moe::RoutingDecision& decision,
                         const moe::DispatchPlan&) {
    counts_L[static_cast<std::size_t>(layer)].add(decision);
    if (place == routing.layers.size()) routing.layers.emplace_back();
    LayerRouting& out = routing.layers[place++];
    out.layer = layer;
    out.n_experts = decision.n_experts;
    out.k = decision.k;
    out.experts_TK.insert(out.experts_TK.end(), decision.topk_ids_TK.begin(),
                          decision.topk_ids_TK.end());
    out.weights_TK.insert(out.weights_TK.end(), decision.topk_weights_TK.begin(),
                          decision.topk_weights_TK.end());
  };
  session.transformer().forward(context, batch, options, activations);
}

Routing Model::Impl::routing(Ids ids, std::int64_t window) {
  check_ids(ids);
  window = window_size(window);
  Routing result;
  result.n_tokens = static_cast<std::int64_t>(ids.size());
  const auto cache = session.transformer().new_cache(std::min(window, result.n_tokens));
  for (std::int64_t begin = 0; begin < result.n_tokens; begin += window) {
    const std::int64_t end = std::min(begin + window, result.n_tokens);
    for (std::int64_t t = begin; t < end; t += kRoutingChunk) {
      const std::int64_t n = std::min(kRoutingChunk, end - t);
      forward(*cache, ids.subspan(static_cast<std::size_t>(t), static_cast<std::size_t>(n)),
              t - begin, result);
    }
  }
  return result;
}

Model::Model(const std::string& directory, const LoadOptions& options)
    : impl_(api::guarded([&] { return std::make_unique<Impl>(directory, options); })) {}
Model::~Model() = default;
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;

const ModelInfo& Model::info() const { return impl_->info; }
int Model::threads() const { return impl_->context.pool.size(); }
Compute Model::compute() const {
  return impl_->dtype == DType::kF32 ? Compute::kF32 : Compute::kBF16;
}

bool Model::has_tokenizer() const { return impl_->session.has_tokenizer(); }

std::vector<std::int32_t> Model::encode(std::string_view text, bool add_special) const {
  return api::guarded([&] {
    return impl_->session.tokenizer().encode(text,
                                             {.add_special = add_special, .parse_special = false});
  });
}

std::string Model::decode(Ids ids, bool skip_special) const {
  return api::guarded([&] { return impl_->session.tokenizer().decode(ids, skip_special); });
}

Generation Model::generate(std::string_view prompt, const GenerateOptions& options,
                           const TextCallback& on_text) {
  // What the callback throws is the caller's own and is not translated.
  std::exception_ptr thrown;
  const auto callback = [&](const std::string& piece) {
    try {
      return !on_text || on_text(piece);
    } catch (...) {
      thrown = std::current_exception();
      return false;
    }
  };
  const infer::Generation g = api::guarded(
      [&] { return impl_->session.generate(std::string(prompt), convert(options), callback); });
  if (thrown) std::rethrow_exception(thrown);
  return {g.ids, g.text, convert(g.finish), g.prompt_tokens, g.prefill_seconds, g.decode_seconds};
}

Logits Model::logits(Ids ids) {
  return api::guarded([&]() -> Logits {
    impl_->check_ids(ids);
    if (static_cast<std::int64_t>(ids.size()) > impl_->info.context) {
      fail(ErrorKind::kInvalidArgument,
           "the sequence has {} tokens, but the model's context is {}: shorten it", ids.size(),
           impl_->info.context);
    }
    if (ids.empty()) return {0, impl_->info.vocab_size, {}};
    const FloatMatrix found = impl_->session.logits(ids);
    const MatrixView<float> view = found.view();
    return {view.rows, view.cols, {view.data, view.data + view.rows * view.cols}};
  });
}

Likelihood Model::likelihood(std::string_view text, std::int64_t window) {
  return api::guarded([&] {
    const text::Tokenizer& tokenizer = impl_->session.tokenizer();
    const std::vector<std::int32_t> ids = tokenizer.encode(text, {.add_special = false});
    Likelihood result = impl_->likelihood(ids, window);
    for (const std::int32_t id : Ids(ids).subspan(1)) {
      result.bytes += static_cast<std::int64_t>(tokenizer.token_bytes(id).size());
    }
    return result;
  });
}

Likelihood Model::likelihood(Ids ids, std::int64_t window) {
  return api::guarded([&] { return impl_->likelihood(ids, window); });
}

Routing Model::routing(std::string_view text, std::int64_t window) {
  return api::guarded([&] {
    return impl_->routing(impl_->session.tokenizer().encode(text, {.add_special = false}), window);
  });
}

Routing Model::routing(Ids ids, std::int64_t window) {
  return api::guarded([&] { return impl_->routing(ids, window); });
}

std::vector<LayerStatistics> Model::routing_statistics() const {
  return api::guarded([&] {
    const std::vector<moe::RoutingStatistics> counts_L = impl_->statistics();
    std::vector<LayerStatistics> result;
    for (std::size_t layer = 0; layer < counts_L.size(); ++layer) {
      if (counts_L[layer].n_experts() == 0) continue;
      result.push_back(convert(static_cast<int>(layer), counts_L[layer]));
    }
    return result;
  });
}

std::string Model::routing_statistics_json() const {
  return api::guarded(
      [&] { return moe::statistics_json(impl_->statistics(), /*with_coactivation=*/true); });
}

void Model::reset_routing_statistics() { impl_->reset(); }

}  // namespace conclave
