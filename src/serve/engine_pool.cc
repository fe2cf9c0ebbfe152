// Embeddings: sequences that are read and not continued. Their hidden states behind the final norm
// are averaged, or the last one is taken, and brought to length one.

#include <algorithm>
#include <cmath>

#include "serve/engine.h"
#include "serve/sequence.h"

namespace conclave::serve {

void Engine::pool_rows(const nn::Batch& batch) {
  const MatrixView<float> hidden = activations_.out.view();
  for (const SequencePtr& sequence : running_) {
    Sequence& s = *sequence;
    if (s.request.pooling == Pooling::kNone) continue;
    s.pooled.resize(static_cast<std::size_t>(hidden.cols));
    for (const nn::SequenceChunk& chunk : batch.chunks) {
      if (chunk.cache != s.cache.get()) continue;
      const bool last_only = s.request.pooling == Pooling::kLast;
      for (std::int64_t i = last_only ? chunk.row_count - 1 : 0; i < chunk.row_count; ++i) {
        const float* const row = hidden.data + (chunk.row_begin + i) * hidden.stride;
        for (std::size_t d = 0; d < s.pooled.size(); ++d) {
          s.pooled[d] = last_only ? double{row[d]} : s.pooled[d] + double{row[d]};
        }
      }
    }
    if (s.pending() > 0) continue;
    // The mean and the sum have one direction.
    double length = 0;
    for (const double value : s.pooled) length += value * value;
    length = std::sqrt(length);
    const bool usable = std::isfinite(length) && length > 0;
    for (const double value : s.pooled) {
      s.embedding.push_back(static_cast<float>(usable ? value / length : 0.0));
    }
    finish(s, usable ? EndReason::kStop : EndReason::kFailed,
           usable ? "" : "the model's hidden states are not numbers");
  }
  std::erase_if(rows_, [](const Row& row) { return row.sequence->ended; });
}

}  // namespace conclave::serve
