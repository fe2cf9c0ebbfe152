// A task is a rectangle of the output of one group: up to a tile of rows, and columns of one part
// of its matrix. Rows are quantised by the task that needs them.
#include "ops/quant_tasks.h"

#include <algorithm>
#include <array>

#include "kernels/choice.h"
#include "ops/tasks.h"

namespace conclave::ops {
namespace {

using kernels::kQuantPanel;
using kernels::kQuantRows;
using kernels::QuantKernels;
using kernels::QuantLayout;

// Tasks a thread: the more, the less the others wait for the last to finish.
constexpr std::int64_t kTasks = 8;
// A product of few rows is bound by streaming the weights, as if it had this many rows.
constexpr std::int64_t kRowsWorthStreaming = 6;
// Least columns of a task: 128 KiB or so of weights, which memory delivers at full speed.
constexpr std::int64_t kLeastColumns = 64;

struct Task {
  std::int64_t group;
  const PackedMatrix::QuantPart* part;
  std::int64_t row, rows;
  std::int64_t column, columns;  // of the part
  std::int64_t cost;
};

std::span<const Task> plan(Context& context, const Offsets& offsets,
                           std::span<const PackedMatrix* const> b) {
  const auto cost = [](std::int64_t rows) { return std::max(rows, kRowsWorthStreaming); };
  std::int64_t total = 0;
  for (std::size_t g = 0; g < offsets.groups(); ++g) {
    if (offsets.rows(g) == 0) continue;
    total += cost(offsets.rows(g)) * b[g]->n();
  }
  const int threads = context.pool.size();
  const std::int64_t target = std::max<std::int64_t>(1, total / (threads * kTasks));
  return make_tasks<Task>(context, [&](const auto& add) {
    for (std::size_t g = 0; g < offsets.groups(); ++g) {
      const std::int64_t tiles = ceil_div(offsets.rows(g), kQuantRows);
      for (std::int64_t tile = 0; tile < tiles; ++tile) {
        const Range r = part_of(offsets.rows(g), 1, tile, tiles);
        for (const PackedMatrix::QuantPart& part : b[g]->quant_parts()) {
          const std::int64_t most =
              threads == 1 ? 1 : std::max<std::int64_t>(1, part.n / kLeastColumns);
          const std::int64_t parts =
              std::clamp<std::int64_t>(ceil_div(cost(r.count) * part.n, target), 1, most);
          for (std::int64_t p = 0; p < parts; ++p) {
            const Range c = part_of(part.n, kQuantPanel, p, parts);
            if (c.count == 0) continue;
            add(Task{static_cast<std::int64_t>(g), &part, offsets.begin(g) + r.begin, r.count,
                     c.begin, c.count, cost(r.count) * c.count});
          }
        }
      }
    }
  });
}

}  // namespace

const QuantKernels& quant_kernel() {
  static const QuantKernels& kernel = kernels::best(kernels::quant_kernels());
  return kernel;
}

void multiply_quant_groups(Context& context, const QuantKernels& kernel, MatrixView<const float> x,
                           std::span<const std::int32_t> offsets_E1,
                           std::span<const PackedMatrix* const> b, MatrixView<float> y,
                           bool accumulate) {
  const std::int64_t k = x.cols;
  if (y.rows == 0 || y.cols == 0) return;
  const auto tasks = plan(context, Offsets(offsets_E1), b);
  std::int64_t left_bytes = 0;
  for (const Task& task : tasks) {
    left_bytes =
        std::max(left_bytes, kernels::quant_left_layout(task.part->type).size(task.rows, k));
  }
  const ThreadScratch lefts(context, Context::kPackRows, left_bytes);
  run_tasks(context, tasks, [&](int thread, const Task& task) {
    std::byte* left = lefts.of(thread);
    const PackedMatrix::QuantPart& part = *task.part;
    kernel.quantize_left(part.type, x.row(task.row), x.stride, task.rows, k, left);
    const QuantLayout& layout = *kernels::quant_layout(part.type);
    kernel.product({part.type, left, part.panels + task.column / kQuantPanel * layout.panel_size(k),
                    k, task.rows, task.columns, y.row(task.row) + part.column + task.column,
                    y.stride, accumulate});
  });
}

void pack_quant_rows(Context& context, const BlockRows& rows, std::int64_t k, std::byte* panels) {
  const QuantLayout& layout = *kernels::quant_layout(rows.type);
  const std::int64_t row_bytes = quant_bytes(rows.type, k);
  context.pool.parallel_for(
      QuantLayout::panels(rows.n), 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t p = begin; p < end; ++p) {
          const std::int64_t row = p * kQuantPanel;
          kernels::pack_quant_panel(layout, rows.bytes.data() + row * row_bytes, row_bytes,
                                    std::min<std::int64_t>(kQuantPanel, rows.n - row), k,
                                    panels + p * layout.panel_size(k));
        }
      });
}

void decode_quant_row(const PackedMatrix::QuantPart& part, std::int64_t i, std::int64_t k,
                      float* out) {
  const QuantLayout& layout = *kernels::quant_layout(part.type);
  const std::byte* panel = part.panels + i / kQuantPanel * layout.panel_size(k);
  std::array<std::byte, 256> block;
  for (std::int64_t b = 0; b < layout.blocks(k); ++b) {
    kernels::unpack_quant_block(layout, panel, static_cast<int>(i % kQuantPanel), k, b,
                                block.data());
    dequantize(part.type, block.data(), layout.block_count, out + b * layout.block_count);
  }
}

}  // namespace conclave::ops
