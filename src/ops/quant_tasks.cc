// A call has two steps. Rows are quantised once for each kind of left tile that the types of their
// matrix ask for. Then the output is cut into rectangles, each a tile of rows times columns of one
// part of a matrix: all groups in one parallel region, costly tasks first.
#include "ops/quant_tasks.h"

#include <algorithm>
#include <array>
#include <vector>

#include "kernels/choice.h"
#include "ops/tasks.h"

namespace conclave::ops {
namespace {

using kernels::kQuantPanel;
using kernels::kQuantRows;
using kernels::QuantKernels;
using kernels::QuantLayout;
using kernels::QuantLeftLayout;
using Part = PackedMatrix::QuantPart;

// Tasks a thread: the more, the less the others wait for the last to finish.
constexpr std::int64_t kTasks = 8;
// A product of few rows is bound by streaming the weights, as if it had this many rows.
constexpr std::int64_t kRowsWorthStreaming = 6;
// Least weights of a task. Memory delivers runs of 128 KiB at full speed, and 16 KiB at 3/4 of it.
constexpr std::int64_t kLeastBytes = 128 << 10;
// Numbers that one thread quantises in the time that waking the others takes (about 10 us).
constexpr std::int64_t kQuantiseAlone = 48 << 10;

// Rows as the matrices of one kind take them.
struct LeftTile {
  std::int64_t row, rows;
  QuantType type;
  std::int64_t at;  // bytes from the first tile
};

struct Task {
  const Part* part;
  std::size_t left;              // its tile
  std::int64_t column, columns;  // of the part
  std::int64_t cost;
};

struct Plan {
  std::vector<LeftTile> lefts;
  std::vector<Task> tasks;
  std::int64_t left_bytes = 0;
  std::int64_t numbers = 0;  // to be quantised
};

// The tiles of a group's rows for weights of `type`; returns the index of the first.
std::size_t add_lefts(Plan& plan, std::int64_t row, std::int64_t rows, QuantType type,
                      std::int64_t k) {
  const std::size_t first = plan.lefts.size();
  const std::int64_t tiles = ceil_div(rows, kQuantRows);
  for (std::int64_t t = 0; t < tiles; ++t) {
    const Range r = part_of(rows, 1, t, tiles);
    plan.lefts.push_back({row + r.begin, r.count, type, plan.left_bytes});
    plan.left_bytes += kernels::quant_left_layout(type).size(r.count, k);
  }
  plan.numbers += rows * k;
  return first;
}

std::int64_t cost_of_rows(std::int64_t rows) { return std::max(rows, kRowsWorthStreaming); }

// All tiles times all columns of a part, in tasks of about `target` costs.
void add_tasks(Plan& plan, const Part& part, std::size_t first, std::int64_t rows, std::int64_t k,
               std::int64_t target) {
  const std::int64_t most =
      std::max<std::int64_t>(1, part.n * quant_bytes(part.type, k) / kLeastBytes);
  const std::int64_t tiles = ceil_div(rows, kQuantRows);
  for (std::size_t t = first; t < first + static_cast<std::size_t>(tiles); ++t) {
    const std::int64_t cost = cost_of_rows(plan.lefts[t].rows);
    const std::int64_t cuts = std::clamp<std::int64_t>(ceil_div(cost * part.n, target), 1, most);
    for (std::int64_t c = 0; c < cuts; ++c) {
      const Range columns = part_of(part.n, kQuantPanel, c, cuts);
      if (columns.count == 0) continue;
      plan.tasks.push_back({&part, t, columns.begin, columns.count, cost * columns.count});
    }
  }
}

Plan make_plan(int threads, const Offsets& offsets, std::span<const PackedMatrix* const> b,
               std::int64_t k) {
  std::int64_t total = 0;
  for (std::size_t g = 0; g < offsets.groups(); ++g) {
    if (offsets.rows(g) > 0) total += cost_of_rows(offsets.rows(g)) * b[g]->n();
  }
  const std::int64_t target =
      threads == 1 ? total : std::max<std::int64_t>(1, total / (threads * kTasks));
  Plan plan;
  for (std::size_t g = 0; g < offsets.groups(); ++g) {
    const std::int64_t rows = offsets.rows(g);
    if (rows == 0) continue;
    const std::span<const Part> parts = b[g]->quant_parts();
    std::vector<std::size_t> firsts;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const QuantLeftLayout layout = kernels::quant_left_layout(parts[i].type);
      std::size_t same = 0;
      while (same < i && kernels::quant_left_layout(parts[same].type) != layout) ++same;
      firsts.push_back(same < i ? firsts[same]
                                : add_lefts(plan, offsets.begin(g), rows, parts[i].type, k));
      add_tasks(plan, parts[i], firsts[i], rows, k, target);
    }
  }
  std::sort(plan.tasks.begin(), plan.tasks.end(),
            [](const Task& x, const Task& y) { return x.cost > y.cost; });
  return plan;
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
  const Plan plan = make_plan(context.pool.size(), Offsets(offsets_E1), b, k);
  std::byte* const lefts = context.scratch<std::byte>(Context::kPackRows, plan.left_bytes);
  const auto quantise = [&](std::int64_t i) {
    const LeftTile& tile = plan.lefts[static_cast<std::size_t>(i)];
    kernel.quantize_left(tile.type, x.row(tile.row), x.stride, tile.rows, k, lefts + tile.at);
  };
  const auto n_lefts = static_cast<std::int64_t>(plan.lefts.size());
  if (plan.numbers <= kQuantiseAlone) {
    for (std::int64_t i = 0; i < n_lefts; ++i) quantise(i);
  } else {
    context.pool.parallel_tasks(n_lefts, quantise);
  }
  run_tasks(context, std::span<const Task>(plan.tasks), [&](int, const Task& task) {
    const Part& part = *task.part;
    const LeftTile& left = plan.lefts[task.left];
    const QuantLayout& layout = *kernels::quant_layout(part.type);
    kernel.product({part.type, lefts + left.at,
                    part.panels + task.column / kQuantPanel * layout.panel_size(k), k, left.rows,
                    task.columns, y.row(left.row) + part.column + task.column, y.stride,
                    accumulate});
  });
}

void pack_quant_panels(const BlockRows& rows, std::int64_t k, std::int64_t begin, std::int64_t end,
                       std::byte* panels) {
  const QuantLayout& layout = *kernels::quant_layout(rows.type);
  const std::int64_t row_bytes = quant_bytes(rows.type, k);
  for (std::int64_t p = begin; p < end; ++p) {
    const std::int64_t row = p * kQuantPanel;
    kernels::pack_quant_panel(layout, rows.bytes.data() + row * row_bytes, row_bytes,
                              std::min<std::int64_t>(kQuantPanel, rows.n - row), k,
                              panels + p * layout.panel_size(k));
  }
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
