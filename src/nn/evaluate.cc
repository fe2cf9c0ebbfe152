#include "nn/evaluate.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "nn/loss_head.h"

namespace conclave::nn {

Likelihood evaluate(ops::Context& context, Transformer& transformer,
                    std::span<const std::int32_t> ids, const EvaluateOptions& options) {
  const std::int64_t limit = transformer.config().max_positions;
  const std::int64_t window = options.window > 0 ? std::min(options.window, limit) : limit;
  const auto total = static_cast<std::int64_t>(ids.size()) - 1;  // inputs, each with a target
  Likelihood result;
  if (total <= 0) return result;

  const std::int64_t per_batch = std::max<std::int64_t>(1, options.batch_tokens / window);
  const std::int64_t n_caches = std::min(per_batch, (total + window - 1) / window);
  std::vector<std::unique_ptr<KvCache>> caches;
  for (std::int64_t i = 0; i < n_caches; ++i) {
    caches.push_back(transformer.new_cache(std::min(window, total)));
  }

  Activations activations;
  ForwardOptions forward;
  forward.observer = options.observer;
  std::vector<float> nll;
  for (std::int64_t begin = 0; begin < total; begin += per_batch * window) {
    const std::int64_t T = std::min(per_batch * window, total - begin);
    Batch batch;
    batch.ids_T = ids.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(T));
    for (std::int64_t row = 0; row < T; row += window) {
      KvCache* cache = caches[static_cast<std::size_t>(row / window)].get();
      batch.chunks.push_back({cache, row, std::min(window, T - row), 0});
    }
    if (options.on_batch) options.on_batch(batch.ids_T);
    transformer.forward(context, batch, forward, activations);
    nll.resize(static_cast<std::size_t>(T));
    const auto targets =
        ids.subspan(static_cast<std::size_t>(begin) + 1, static_cast<std::size_t>(T));
    head_loss(context, transformer, activations.out.view(), targets, nll.data());
    for (float value : nll) result.nll += static_cast<double>(value);
    result.tokens += T;
    if (options.progress && !options.progress(result.tokens)) {
      fail(ErrorKind::kInterrupted, "stopped after {} of {} tokens", result.tokens, total);
    }
  }
  return result;
}

}  // namespace conclave::nn
