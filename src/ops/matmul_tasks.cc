// The output is cut into rectangles, and each is computed by one thread from first to last product,
// so neither the cutting nor who computes what can change a bit. A task packs the activations it
// needs into scratch of its thread just before they are used: they pass through the caches once.
#include "ops/matmul_tasks.h"

#include <algorithm>
#include <limits>

#include "ops/tasks.h"

namespace conclave::ops {
namespace {

using kernels::MatmulKernels;

// Of the forward product, a 1 MiB L2 holds the packed activations of a task (no more than 20 tiles:
// that is enough to share the reading of the panels) and a chunk of panels, which every tile of the
// task is multiplied with before the next chunk is read.
constexpr std::int64_t kLeftBytes = 256 << 10;
constexpr std::int64_t kLeftTiles = 20;
constexpr std::int64_t kChunkBytes = 512 << 10;
// Packed columns of x of a task of the weight gradient: half of L2.
constexpr std::int64_t kRightBytes = 512 << 10;
// Rows summed in registers before they are added to dw. A constant, because it orders the sum.
constexpr std::int64_t kGradRows = 256;
// Tasks a thread: the more, the less the others wait for the last to finish, and the more is packed
// or read twice. A task of the gradient packs its part of x and dy, one of the forward product only
// reads its panels.
constexpr std::int64_t kProductTasks = 8;
constexpr std::int64_t kGradTasks = 2;
// Among many threads a forward task gets no smaller than this: tiles of rows that share the reading
// of a panel, and panels that share the packing of a row.
constexpr std::int64_t kLeastTiles = 4;
constexpr std::int64_t kLeastPanels = 4;
// A tile alone shares nothing: its tasks are parts of the weights that are worth another thread.
constexpr std::int64_t kLeastStream = 128 << 10;
// A product of few rows is bound by streaming the packed weights, as if it had this many rows.
constexpr std::int64_t kRowsWorthStreaming = 8;

// A rectangle of the output of a group. Forward: `rows` of y, counted from the first row of x.
// Weight gradient: `rows` of dw.
struct Task {
  std::int64_t group;
  std::int64_t row, rows;
  std::int64_t column, columns;
  std::int64_t cost;
};

std::span<const Task> plan_products(Context& context, const MatmulKernels& kernel,
                                    const Offsets& offsets, std::int64_t n, std::int64_t k,
                                    std::int64_t most_rows) {
  const auto cost = [](std::int64_t rows) { return std::max(rows, kRowsWorthStreaming); };
  std::int64_t total = 0;
  for (std::size_t g = 0; g < offsets.groups(); ++g) {
    if (offsets.rows(g) > 0) total += cost(offsets.rows(g));
  }
  const int threads = context.pool.size();
  const std::int64_t target = std::max<std::int64_t>(1, total / (threads * kProductTasks));
  const std::int64_t block_rows =
      std::min(most_rows, threads == 1 ? most_rows : std::max(target, kernel.rows * kLeastTiles));
  const auto most_parts = [&](std::int64_t rows) {
    if (threads == 1) return std::int64_t{1};
    const std::int64_t streamed = kernel.panels(n) * kernel.panel_size(k) / kLeastStream;
    const std::int64_t shared = ceil_div(kernel.panels(n), kLeastPanels);
    return rows <= kernel.rows ? std::clamp(streamed, shared, kernel.panels(n)) : shared;
  };
  return make_tasks<Task>(context, [&](const auto& add) {
    for (std::size_t g = 0; g < offsets.groups(); ++g) {
      std::int64_t blocks = ceil_div(offsets.rows(g), block_rows);
      if (offsets.groups() == 1 && blocks > 1) blocks = ceil_div(blocks, threads) * threads;
      for (std::int64_t block = 0; block < blocks; ++block) {
        const Range r = part_of(offsets.rows(g), 1, block, blocks);
        const std::int64_t parts = std::min(most_parts(r.count), ceil_div(cost(r.count), target));
        for (std::int64_t part = 0; part < parts; ++part) {
          const Range c = part_of(n, kernel.panel, part, parts);
          add(Task{static_cast<std::int64_t>(g), offsets.begin(g) + r.begin, r.count, c.begin,
                   c.count, cost(r.count) * c.count});
        }
      }
    }
  });
}

// Cuts dw [n, k] into `rows` times `columns` parts, at least `wanted` if so many can be: the way
// that packs least, x being packed for every part of the rows and dy for every part of the columns.
struct Grid {
  std::int64_t rows, columns;
};
Grid choose_grid(const MatmulKernels& kernel, std::int64_t n, std::int64_t k,
                 std::int64_t least_columns, std::int64_t wanted) {
  const std::int64_t tiles = ceil_div(n, kernel.rows);
  Grid best = {std::min(wanted, tiles), least_columns};
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (std::int64_t columns = least_columns; columns <= std::max(least_columns, kernel.panels(k));
       columns *= 2) {
    const std::int64_t rows = std::min(ceil_div(wanted, columns), tiles);
    const std::int64_t packed = rows * k + columns * n;
    if (rows * columns >= wanted && packed < least) {
      least = packed;
      best = {rows, columns};
    }
  }
  return best;
}

std::span<const Task> plan_gradients(Context& context, const MatmulKernels& kernel,
                                     const Offsets& offsets, std::int64_t n, std::int64_t k,
                                     std::int64_t most_columns) {
  const int threads = context.pool.size();
  const std::int64_t total = offsets.end(offsets.groups() - 1) - offsets.begin(0);
  const std::int64_t target = std::max<std::int64_t>(1, total / (threads * kGradTasks));
  return make_tasks<Task>(context, [&](const auto& add) {
    for (std::size_t g = 0; g < offsets.groups(); ++g) {
      const std::int64_t rows = offsets.rows(g);
      if (rows == 0) continue;
      const Grid grid = choose_grid(kernel, n, k, ceil_div(k, most_columns),
                                    threads == 1 ? 1 : ceil_div(rows, target));
      for (std::int64_t part = 0; part < grid.rows * grid.columns; ++part) {
        const Range r = part_of(n, 1, part / grid.columns, grid.rows);
        const Range c = part_of(k, kernel.panel, part % grid.columns, grid.columns);
        add(Task{static_cast<std::int64_t>(g), r.begin, r.count, c.begin, c.count,
                 rows * r.count * c.count});
      }
    }
  });
}

}  // namespace

void multiply_groups(Context& context, const MatmulKernels& kernel, MatrixView<const float> x,
                     std::span<const std::int32_t> offsets_E1,
                     std::span<const PackedMatrix* const> b, MatrixView<float> y, bool accumulate) {
  if (y.rows == 0 || y.cols == 0) return;
  const std::int64_t k = x.cols;
  const std::int64_t tile_bytes = ceil_div(kernel.left_size(kernel.rows, k), 64) * 64;
  const std::int64_t most_tiles = std::clamp<std::int64_t>(kLeftBytes / tile_bytes, 1, kLeftTiles);
  const std::int64_t column_bytes = std::max<std::int64_t>(1, kernel.units(k) * kernel.right_bytes);
  const std::int64_t chunk =
      std::max<std::int64_t>(1, kChunkBytes / (column_bytes * kernel.panel)) * kernel.panel;
  // Rows that lie closely together can be fetched as one run of cache lines.
  const std::int64_t row_lines = x.stride <= 2 * k ? ceil_div(x.stride * 4, 64) : 0;
  const auto tasks =
      plan_products(context, kernel, Offsets(offsets_E1), y.cols, k, most_tiles * kernel.rows);
  const ThreadScratch lefts(context, Context::kPackRows, tile_bytes * most_tiles);
  run_tasks(context, tasks, [&](int thread, const Task& task) {
    const std::byte* right = b[static_cast<std::size_t>(task.group)]->data();
    const std::int64_t tiles = ceil_div(task.rows, kernel.rows);
    for (std::int64_t c = 0; c < task.columns; c += chunk) {
      for (std::int64_t t = 0; t < tiles; ++t) {
        const Range r = part_of(task.rows, 1, t, tiles);
        const std::int64_t row = task.row + r.begin;
        std::byte* left = lefts.of(thread) + t * tile_bytes;
        const bool first = c == 0;
        if (first) kernel.left_by_rows(x.row(row), x.stride, r.count, k, left);
        const bool fetch = first && t + 1 < tiles;
        kernel.product({left, right + (task.column + c) * column_bytes, kernel.units(k), r.count,
                        std::min(chunk, task.columns - c), y.row(row) + task.column + c, y.stride,
                        accumulate, x.row(row + (fetch ? r.count : 0)), 64,
                        fetch ? kernel.rows * row_lines : 0});
      }
    }
  });
}

void add_weight_gradients(Context& context, const MatmulKernels& kernel, MatrixView<const float> dy,
                          MatrixView<const float> x, std::span<const std::int32_t> offsets_E1,
                          std::span<const MatrixView<float>> dw) {
  const std::int64_t n = dy.cols;
  const std::int64_t k = x.cols;
  if (x.rows == 0 || n == 0 || k == 0) return;
  const Offsets offsets(offsets_E1);
  const std::int64_t most_rows = std::min(kGradRows, x.rows);
  const std::int64_t columns =
      std::min(kernel.panels(k),
               std::max<std::int64_t>(1, kRightBytes / kernel.panel_size(kGradRows))) *
      kernel.panel;
  const auto tasks = plan_gradients(context, kernel, offsets, n, k, columns);
  const ThreadScratch lefts(context, Context::kPackRows, kernel.left_size(kernel.rows, most_rows));
  const ThreadScratch rights(context, Context::kPackColumns,
                             columns / kernel.panel * kernel.panel_size(most_rows));
  run_tasks(context, tasks, [&](int thread, const Task& task) {
    const auto group = static_cast<std::size_t>(task.group);
    const MatrixView<float> out = dw[group];
    const std::int64_t end = offsets.end(group);
    std::byte* left = lefts.of(thread);
    std::byte* right = rights.of(thread);
    for (std::int64_t row = offsets.begin(group); row < end; row += kGradRows) {
      const std::int64_t rows = std::min(kGradRows, end - row);
      for (std::int64_t c = 0; c < task.columns; c += kernel.panel) {
        kernel.right_by_columns(x.row(row) + task.column + c, x.stride,
                                std::min<std::int64_t>(kernel.panel, task.columns - c), rows,
                                right + c / kernel.panel * kernel.panel_size(rows));
      }
      const std::int64_t tiles = ceil_div(task.rows, kernel.rows);
      for (std::int64_t t = 0; t < tiles; ++t) {
        const Range r = part_of(task.rows, 1, t, tiles);
        const float* source = dy.row(row) + task.row + r.begin;
        kernel.left_by_columns(source, dy.stride, r.count, rows, left);
        // The next tile's columns of dy, a line or less in each row, far apart.
        kernel.product({left, right, kernel.units(rows), r.count, task.columns,
                        out.row(task.row + r.begin) + task.column, out.stride, true,
                        source + (t + 1 < tiles ? 2 * r.count - 1 : 0), dy.stride * 4,
                        t + 1 < tiles ? rows : 0});
      }
    }
  });
}

}  // namespace conclave::ops
