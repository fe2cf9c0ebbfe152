#include "nn/loss_head.h"

#include <algorithm>

namespace conclave::nn {
namespace {

// Rows at a time: 512 rows of 4096 logits are 8 MiB, which stays in a shared L3 between the head's
// product, the softmax and the two products of the backward pass.
constexpr std::int64_t kRows = 512;

template <class Body>
void for_row_blocks(ops::Context& context, const Transformer& transformer, std::int64_t rows,
                    const Body& body) {
  const std::int64_t V = transformer.config().vocab_size;
  const std::int64_t block = std::min(rows, kRows);
  float* logits = context.scratch<float>(ops::Context::kLoss, block * V);
  for (std::int64_t begin = 0; begin < rows; begin += kRows) {
    const std::int64_t n = std::min(kRows, rows - begin);
    body(begin, n, MatrixView<float>(logits, n, V));
  }
}

}  // namespace

void head_loss(ops::Context& context, const Transformer& transformer,
               MatrixView<const float> hidden, std::span<const std::int32_t> targets_T,
               float* nll_T) {
  for_row_blocks(context, transformer, hidden.rows,
                 [&](std::int64_t begin, std::int64_t n, MatrixView<float> logits) {
                   transformer.logits(context, hidden.rows_range(begin, n), logits);
                   const auto targets = targets_T.subspan(static_cast<std::size_t>(begin),
                                                          static_cast<std::size_t>(n));
                   ops::cross_entropy_forward(context, logits, targets, nll_T + begin);
                 });
}

void head_loss_backward(ops::Context& context, const Transformer& transformer,
                        MatrixView<const float> hidden, std::span<const std::int32_t> targets_T,
                        float scale, MatrixView<float> d_hidden, float* nll_T) {
  for_row_blocks(
      context, transformer, hidden.rows,
      [&](std::int64_t begin, std::int64_t n, MatrixView<float> logits) {
        const MatrixView<const float> rows = hidden.rows_range(begin, n);
        transformer.logits(context, rows, logits);
        const auto targets =
            targets_T.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(n));
        ops::cross_entropy_forward_backward(context, logits, targets, scale, nll_T + begin);
        ops::linear_backward(context, transformer.head(), rows, logits,
                             d_hidden.rows_range(begin, n));
      });
}

}  // namespace conclave::nn
