// A call has two steps. Rows are quantised once for each kind of left tile that the types of their
// matrix ask for. Then the output is cut into rectangles, tiles of rows times columns of one part
// of a matrix: all groups in one parallel region, in the order of memory. Within a task all tiles
// take a block of columns while it is in the second cache, so that weights come from memory once.
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

// Weights that all tiles of a task take before the next: a part of the second cache beside a tile.
// One tile alone reads longer runs, at the memory's speed.
constexpr std::int64_t kBlockBytes = 128 << 10;
constexpr std::int64_t kLongBlockBytes = 1 << 20;

// Rows as the matrices of one kind take them.
struct LeftTile {
  std::int64_t row, rows;
  QuantType type;
  std::int64_t at;  // bytes from the first tile
};

// What the rows of a task are multiplied with: columns of a part, from `column` on.
struct Operand {
  const Part* part;
  std::size_t left;  // the first tile of the group, in the form that the part takes
  std::int64_t column;
};

struct Task {
  std::array<Operand, 2> operands;  // gate and up, or one
  std::size_t group;
  std::int64_t tile, tiles;      // of the group
  std::int64_t column, columns;  // of the output
  std::int64_t cost;
};

struct Plan {
  std::vector<LeftTile> lefts;
  std::vector<Task> tasks;
  std::int64_t left_bytes = 0;
  std::int64_t numbers = 0;  // to be quantised
};

// Which halves of a matrix of 2F columns are gate and up: two parts, or one whose halves are whole
// panels.
bool has_halves(const PackedMatrix& b) {
  const std::span<const Part> parts = b.quant_parts();
  if (parts.size() == 2) return parts[0].n == parts[1].n;
  return parts.size() == 1 && parts[0].n % (2 * kQuantPanel) == 0;
}

class Planner {
 public:
  Planner(int threads, const QuantKernels& kernel, const Offsets& offsets,
          std::span<const PackedMatrix* const> b, std::int64_t k, bool gated)
      : k_(k), kernel_(kernel), gated_(gated) {
    std::int64_t total = 0;
    for (std::size_t g = 0; g < offsets.groups(); ++g) {
      if (offsets.rows(g) > 0) total += cost_of(offsets.rows(g)) * b[g]->n();
    }
    target_ = threads == 1 ? total : std::max<std::int64_t>(1, total / (threads * kTasks));
    for (std::size_t g = 0; g < offsets.groups(); ++g) {
      if (offsets.rows(g) > 0) add_group(g, offsets.begin(g), offsets.rows(g), *b[g]);
    }
  }
  Plan plan() && { return std::move(plan_); }

 private:
  static std::int64_t cost_of(std::int64_t rows) { return std::max(rows, kRowsWorthStreaming); }

  void add_group(std::size_t group, std::int64_t row, std::int64_t rows, const PackedMatrix& b) {
    const std::span<const Part> parts = b.quant_parts();
    std::vector<std::size_t> lefts;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const QuantLeftLayout layout = kernel_.left_layout(parts[i].type);
      std::size_t same = 0;
      while (same < i && kernel_.left_layout(parts[same].type) != layout) ++same;
      lefts.push_back(same < i ? lefts[same] : add_lefts(row, rows, parts[i].type));
    }
    if (!gated_) {
      for (std::size_t i = 0; i < parts.size(); ++i) {
        const Operand operand = {&parts[i], lefts[i], 0};
        add_tasks(group, rows, {operand, operand}, parts[i].column, parts[i].n);
      }
      return;
    }
    const std::int64_t width = b.n() / 2;
    const Operand gate = {&parts[0], lefts[0], 0};
    const Operand up = {&parts.back(), lefts.back(), parts.size() == 2 ? 0 : width};
    add_tasks(group, rows, {gate, up}, 0, width);
  }

  // The tiles of a group's rows for weights of `type`; returns the index of the first.
  std::size_t add_lefts(std::int64_t row, std::int64_t rows, QuantType type) {
    const std::size_t first = plan_.lefts.size();
    const std::int64_t tiles = ceil_div(rows, kernel_.tile_rows);
    for (std::int64_t t = 0; t < tiles; ++t) {
      const Range r = part_of(rows, 1, t, tiles);
      plan_.lefts.push_back({row + r.begin, r.count, type, plan_.left_bytes});
      plan_.left_bytes += kernel_.left_layout(type).size(r.count, k_);
    }
    plan_.numbers += rows * k_;
    return first;
  }

  // All tiles times `n` columns in tasks of about the target's cost: cut by columns first, and by
  // tiles where there are not enough columns.
  void add_tasks(std::size_t group, std::int64_t rows, std::array<Operand, 2> operands,
                 std::int64_t column, std::int64_t n) {
    const std::int64_t width = gated_ ? 2 : 1;
    const std::int64_t wanted = ceil_div(cost_of(rows) * n * width, target_);
    const std::int64_t bytes = n * width * quant_bytes(operands[0].part->type, k_);
    const std::int64_t most = std::max<std::int64_t>(1, bytes / kLeastBytes);
    const std::int64_t cuts = std::clamp<std::int64_t>(wanted, 1, most);
    const std::int64_t tiles = ceil_div(rows, kernel_.tile_rows);
    const std::int64_t tile_cuts = std::clamp<std::int64_t>(ceil_div(wanted, cuts), 1, tiles);
    for (std::int64_t c = 0; c < cuts; ++c) {
      const Range columns = part_of(n, kQuantPanel, c, cuts);
      if (columns.count == 0) continue;
      std::array<Operand, 2> at = operands;
      for (Operand& operand : at) operand.column += columns.begin;
      for (std::int64_t t = 0; t < tile_cuts; ++t) {
        const Range tile = part_of(tiles, 1, t, tile_cuts);
        const std::int64_t cost = cost_of(rows * tile.count / tiles) * columns.count;
        plan_.tasks.push_back(
            {at, group, tile.begin, tile.count, column + columns.begin, columns.count, cost});
      }
    }
  }

  std::int64_t k_;
  const QuantKernels& kernel_;
  bool gated_;
  std::int64_t target_ = 0;
  Plan plan_;
};

// Columns of a block of weights, in whole panels.
std::int64_t block_columns(const Task& task, std::int64_t k) {
  const QuantType type = task.operands[0].part->type;
  const std::int64_t bytes = task.tiles == 1 ? kLongBlockBytes : kBlockBytes;
  return std::max<std::int64_t>(1, bytes / kernels::quant_layout(type)->panel_size(k)) *
         kQuantPanel;
}

// body(i) for i in 0 .. count - 1, on one thread where that many numbers are not worth more.
template <class Body>
void run_for_numbers(Context& context, std::int64_t numbers, std::int64_t count, const Body& body) {
  if (numbers <= kQuantiseAlone) {
    for (std::int64_t i = 0; i < count; ++i) body(i);
  } else {
    context.pool.parallel_tasks(count, body);
  }
}

bool take_one_form(const QuantKernels& kernel, std::span<const LeftTile> tiles) {
  const QuantLeftLayout layout = kernel.left_layout(tiles.front().type);
  return std::all_of(tiles.begin(), tiles.end(),
                     [&](const LeftTile& tile) { return kernel.left_layout(tile.type) == layout; });
}

// Quantises all tiles, of which there is one at least; row i of the groups is row source(i) of x. A
// row that several groups take is quantised once: then each is a tile of its own first, and the
// plan's tiles are these or joined from them.
template <class Source>
const std::byte* quantise_lefts(Context& context, const QuantKernels& kernel, Plan& plan,
                                MatrixView<const float> x, const Source& source) {
  const std::int64_t k = x.cols;
  const bool once = plan.numbers > x.rows * k && take_one_form(kernel, plan.lefts);
  const QuantLeftLayout layout = kernel.left_layout(plan.lefts.front().type);
  const std::int64_t single = layout.size(1, k);
  std::byte* const lefts = context.scratch<std::byte>(
      Context::kPackRows, plan.left_bytes + (once ? x.rows * single : 0));
  std::byte* const singles = lefts + plan.left_bytes;
  if (once) {
    run_for_numbers(context, x.rows * k, x.rows, [&](std::int64_t i) {
      const float* const row = x.row(i);
      kernel.quantize_left(plan.lefts.front().type, &row, 1, k, singles + i * single);
    });
  }
  const auto rows_of = [&](const LeftTile& tile, const auto& row) {
    std::array<decltype(row(0)), kQuantRows> rows = {};
    for (std::int64_t r = 0; r < tile.rows; ++r) {
      rows[static_cast<std::size_t>(r)] = row(source(tile.row + r));
    }
    return rows;
  };
  const auto single_of = [&](std::int64_t i) -> const std::byte* { return singles + i * single; };
  run_for_numbers(context, plan.numbers, std::ssize(plan.lefts), [&](std::int64_t i) {
    LeftTile& tile = plan.lefts[static_cast<std::size_t>(i)];
    if (!once) {
      const auto rows = rows_of(tile, [&](std::int64_t r) -> const float* { return x.row(r); });
      kernel.quantize_left(tile.type, rows.data(), tile.rows, k, lefts + tile.at);
    } else if (tile.rows == 1) {
      tile.at = single_of(source(tile.row)) - lefts;
    } else {
      const auto rows = rows_of(tile, single_of);
      kernels::join_left_rows(layout, rows.data(), tile.rows, k, lefts + tile.at);
    }
  });
  return lefts;
}

// Columns column .. column + n - 1 of an operand, for the rows of its tile-th tile.
void multiply_tile(const QuantKernels& kernel, const Plan& plan, const std::byte* lefts,
                   const Operand& operand, std::int64_t tile, std::int64_t column, std::int64_t n,
                   std::int64_t k, float* y, std::int64_t y_stride, bool accumulate) {
  const LeftTile& left = plan.lefts[operand.left + static_cast<std::size_t>(tile)];
  const std::int64_t panel = (operand.column + column) / kQuantPanel;
  const std::byte* right =
      operand.part->panels + panel * kernels::quant_layout(operand.part->type)->panel_size(k);
  kernel.product(
      {operand.part->type, lefts + left.at, right, k, left.rows, n, y, y_stride, accumulate});
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
  Plan plan =
      Planner(context.pool.size(), kernel, Offsets(offsets_E1), b, k, /*gated=*/false).plan();
  const std::byte* lefts =
      quantise_lefts(context, kernel, plan, x, [](std::int64_t i) { return i; });
  run_tasks(context, std::span<const Task>(plan.tasks), [&](int, const Task& task) {
    const Operand& operand = task.operands[0];
    const std::int64_t block = block_columns(task, k);
    for (std::int64_t c = 0; c < task.columns; c += block) {
      const std::int64_t n = std::min(block, task.columns - c);
      for (std::int64_t tile = task.tile; tile < task.tile + task.tiles; ++tile) {
        const LeftTile& left = plan.lefts[operand.left + static_cast<std::size_t>(tile)];
        multiply_tile(kernel, plan, lefts, operand, tile, c, n, k,
                      y.row(left.row) + task.column + c, y.stride, accumulate);
      }
    }
  });
}

bool can_gate_quant_groups(std::span<const PackedMatrix* const> b) {
  return std::all_of(b.begin(), b.end(),
                     [](const PackedMatrix* m) { return m == nullptr || has_halves(*m); });
}

void gate_quant_groups(Context& context, const QuantKernels& kernel, MatrixView<const float> x,
                       std::span<const std::int32_t> rows_N,
                       std::span<const std::int32_t> offsets_E1,
                       std::span<const PackedMatrix* const> b, const GatedUnit& unit,
                       MatrixView<float> h) {
  const std::int64_t k = x.cols;
  if (h.rows == 0 || h.cols == 0) return;
  Plan plan =
      Planner(context.pool.size(), kernel, Offsets(offsets_E1), b, k, /*gated=*/true).plan();
  const std::byte* lefts = quantise_lefts(context, kernel, plan, x, [&](std::int64_t i) {
    return rows_N.empty() ? i : std::int64_t{rows_N[static_cast<std::size_t>(i)]};
  });
  std::int64_t widest = 0;
  for (const Task& task : plan.tasks) {
    widest = std::max(widest, std::min(task.columns, block_columns(task, k)));
  }
  const ThreadScratch scratch(
      context, Context::kGather,
      kernel.tile_rows * 2 * widest * static_cast<std::int64_t>(sizeof(float)));
  run_tasks(context, std::span<const Task>(plan.tasks), [&](int thread, const Task& task) {
    float* const both = reinterpret_cast<float*>(scratch.of(thread));
    const std::int64_t block = block_columns(task, k);
    for (std::int64_t c = 0; c < task.columns; c += block) {
      const std::int64_t n = std::min(block, task.columns - c);
      for (std::int64_t tile = task.tile; tile < task.tile + task.tiles; ++tile) {
        for (int i = 0; i < 2; ++i) {
          multiply_tile(kernel, plan, lefts, task.operands[static_cast<std::size_t>(i)], tile, c, n,
                        k, both + i * n, 2 * n, false);
        }
        const LeftTile& left = plan.lefts[task.operands[0].left + static_cast<std::size_t>(tile)];
        const std::int64_t column = task.column + c;
        unit(task.group, column, {both, left.rows, 2 * n},
             h.rows_range(left.row, left.rows).cols_range(column, n));
      }
    }
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
    kernels::unpack_quant_block(layout, panel, static_cast<int>(i % kQuantPanel), b, block.data());
    dequantize(part.type, block.data(), layout.block_count, out + b * layout.block_count);
  }
}

}  // namespace conclave::ops
