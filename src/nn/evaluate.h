// Negative log-likelihood of a text under a model, in windows of the model's context.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "nn/transformer.h"

namespace conclave::nn {

struct EvaluateOptions {
  std::int64_t window = 0;  // tokens that the model sees at once; 0: the model's context
  std::int64_t batch_tokens = 4096;
  RoutingObserver observer;  // may be empty
  // Token ids of the batch whose routing the observer sees next; may be empty.
  std::function<void(std::span<const std::int32_t> ids_T)> on_batch;
  // Tokens done so far; returning false stops with Error(kInterrupted). May be empty.
  std::function<bool(std::int64_t done)> progress;
};

struct Likelihood {
  double nll = 0;           // nats, summed over predicted tokens
  std::int64_t tokens = 0;  // predicted tokens: all but the first of the text
};

// Every token but the first is predicted once, from the tokens before it in its window. Windows
// follow each other without overlap.
Likelihood evaluate(ops::Context& context, Transformer& transformer,
                    std::span<const std::int32_t> ids, const EvaluateOptions& options);

}  // namespace conclave::nn
