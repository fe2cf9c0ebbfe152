#include "train/diagnose.h"

#include <cmath>

#include "ops/optimizer.h"

namespace conclave::train {
namespace {

// First row with an element that is not finite, or -1.
std::int64_t broken_row(MatrixView<const float> m) {
  for (std::int64_t r = 0; r < m.rows; ++r) {
    for (std::int64_t c = 0; c < m.cols; ++c) {
      if (!std::isfinite(m(r, c))) return r;
    }
  }
  return -1;
}

std::string in_block(const nn::BlockSaved& saved, int layer) {
  if (broken_row(saved.x_in.view()) >= 0) return fmt::format("the input of layer {}", layer);
  if (broken_row(saved.x_mid.view()) >= 0) return fmt::format("the attention of layer {}", layer);
  const std::int64_t row = broken_row(saved.ffn.y_routed.view());
  if (row < 0) return "";
  const auto& offsets = saved.ffn.plan.expert_offsets_E1;
  std::size_t expert = 0;
  while (offsets[expert + 1] <= row) ++expert;
  return fmt::format("layer {}, expert {}", layer, expert);
}

}  // namespace

std::string locate_nonfinite(ops::Context& context, const nn::Transformer& transformer,
                             const nn::Activations& activations) {
  const ParameterSet& parameters = transformer.parameters();
  for (int i = 0; i < static_cast<int>(parameters.specs().size()); ++i) {
    const MatrixView<float> value = parameters.value(i);
    const auto n = static_cast<std::size_t>(value.rows * value.cols);
    if (!ops::all_finite(context, {value.data, n})) {
      return describe(parameters.specs()[static_cast<std::size_t>(i)].id);
    }
  }
  for (std::size_t layer = 0; layer < activations.inputs.size(); ++layer) {
    if (broken_row(activations.inputs[layer].view()) >= 0) {
      return layer == 0 ? "the embedding" : fmt::format("layer {}", layer - 1);
    }
  }
  if (!activations.recompute) {
    for (std::size_t layer = 0; layer < activations.blocks.size(); ++layer) {
      const std::string found = in_block(activations.blocks[layer], static_cast<int>(layer));
      if (!found.empty()) return found;
    }
  }
  return "the output head";
}

}  // namespace conclave::train
