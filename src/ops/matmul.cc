#include "ops/matmul.h"

#include <algorithm>
#include <atomic>

#include "kernels/matmul/matmul_kernels.h"
#include "sys/cpu.h"

namespace conclave::ops {
namespace {

using kernels::MatmulKernels;

const MatmulKernels& kernels_for(DType compute) {
  CONCLAVE_CHECK(compute == DType::kF32 || compute == DType::kBF16, "compute type {}",
                 dtype_name(compute));
  return kernels::matmul_kernels(sys::best_isa(), compute);
}

// Packed activations of one task stay in half of a 1 MiB L2 beside the panels that stream by.
constexpr std::int64_t kLeftBytes = 256 << 10;
constexpr std::int64_t kRightBytes = 256 << 10;
// Rows summed in registers before they are added to dw. A constant, because it orders the sum.
constexpr std::int64_t kGradRows = 256;
// Enough tasks a thread that the last to finish is not waited for long.
constexpr std::int64_t kTasksPerThread = 4;
// A product of few rows is bound by streaming the packed weights, as if it had this many rows.
constexpr std::int64_t kRowsWorthStreaming = 8;

// Rows [row, row + rows) of group `group` times columns [column, column + columns) of its output;
// for a weight gradient, `rows` and `columns` are those of dw.
struct Task {
  std::int64_t group;
  std::int64_t row, rows;
  std::int64_t column, columns;
};

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Part `part` of `parts` of [0, count), in multiples of `grain`.
struct Range {
  std::int64_t begin, count;
};
Range part_of(std::int64_t count, std::int64_t grain, std::int64_t part, std::int64_t parts) {
  const std::int64_t blocks = ceil_div(count, grain);
  const std::int64_t begin = blocks * part / parts * grain;
  return {begin, std::min(count, blocks * (part + 1) / parts * grain) - begin};
}

// body(thread, task) for every task, each thread taking the next when it is free.
template <class Body>
void run_tasks(Context& context, std::int64_t count, const Body& body) {
  if (count == 0) return;
  if (count == 1 || context.pool.size() == 1) {
    for (std::int64_t task = 0; task < count; ++task) body(0, task);
    return;
  }
  std::atomic<std::int64_t> next{0};
  context.pool.run([&](int thread) {
    for (std::int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
      body(thread, task);
    }
  });
}

// Collects tasks in scratch: `plan(add)` is run twice, to count and to store.
template <class Plan>
std::span<const Task> make_tasks(Context& context, const Plan& plan) {
  std::int64_t count = 0;
  plan([&](const Task&) { ++count; });
  Task* tasks = context.scratch<Task>(Context::kGroupTasks, std::max<std::int64_t>(count, 1));
  Task* next = tasks;
  plan([&](const Task& task) { *next++ = task; });
  return {tasks, static_cast<std::size_t>(count)};
}

template <class T>
void pack_matrix(Context& context, const MatmulKernels& kernel, MatrixView<const T> w,
                 bool transposed, std::int64_t n, std::int64_t k, std::byte* packed) {
  const std::int64_t panel_size = kernel.panel_size(k);
  kernels::MatmulPack<T> pack;
  if constexpr (std::is_same_v<T, float>) {
    pack = transposed ? kernel.right_by_columns : kernel.right_by_rows;
  } else {
    pack = transposed ? kernel.right_by_columns_bf16 : kernel.right_by_rows_bf16;
  }
  context.pool.parallel_for(kernel.panels(n), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t panel = begin; panel < end; ++panel) {
      const std::int64_t column = panel * kernel.panel;
      pack(transposed ? w.data + column : w.row(column), w.stride,
           std::min<std::int64_t>(kernel.panel, n - column), k, packed + panel * panel_size);
    }
  });
}

// y = x B, group by group. offsets(g) is the first row of group g; matrix(g) its B.
template <class Offsets, class Matrix>
void forward(Context& context, MatrixView<const float> x, std::int64_t groups,
             const Offsets& offsets, const Matrix& matrix, DType compute, MatrixView<float> y,
             bool accumulate) {
  const MatmulKernels& kernel = kernels_for(compute);
  const std::int64_t k = x.cols;
  const std::int64_t n = y.cols;
  if (n == 0) return;
  const std::int64_t row_bytes = std::max<std::int64_t>(1, kernel.units(k) * kernel.left_bytes);
  const std::int64_t block_rows =
      std::clamp<std::int64_t>(kLeftBytes / row_bytes / kernel.rows, 1, 18) * kernel.rows;
  const int threads = context.pool.size();

  const auto cost = [](std::int64_t rows) { return std::max(rows, kRowsWorthStreaming); };
  std::int64_t total = 0;
  for (std::int64_t g = 0; g < groups; ++g) {
    if (offsets(g + 1) > offsets(g)) total += cost(offsets(g + 1) - offsets(g));
  }
  const std::int64_t target = std::max<std::int64_t>(1, total / (threads * kTasksPerThread));
  // No narrower than four panels, so that packing the rows again for each part stays cheap.
  const std::int64_t most_parts = threads == 1 ? 1 : ceil_div(kernel.panels(n), std::int64_t{4});
  const auto tasks = make_tasks(context, [&](const auto& add) {
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::int64_t rows = offsets(g + 1) - offsets(g);
      const std::int64_t blocks = ceil_div(rows, block_rows);
      for (std::int64_t block = 0; block < blocks; ++block) {
        const Range r = part_of(rows, 1, block, blocks);
        const std::int64_t parts =
            std::clamp<std::int64_t>(ceil_div(cost(r.count), target), 1, most_parts);
        for (std::int64_t part = 0; part < parts; ++part) {
          const Range c = part_of(n, kernel.panel, part, parts);
          if (c.count > 0) add(Task{g, offsets(g) + r.begin, r.count, c.begin, c.count});
        }
      }
    }
  });

  const std::int64_t scratch = ceil_div(kernel.left_size(block_rows, k), 64) * 64;
  std::byte* packed_rows = context.scratch<std::byte>(Context::kPackRows, scratch * threads);
  const std::int64_t column_bytes = kernel.units(k) * kernel.right_bytes;
  run_tasks(context, static_cast<std::int64_t>(tasks.size()), [&](int thread, std::int64_t i) {
    const Task& task = tasks[static_cast<std::size_t>(i)];
    const void* left = x.row(task.row);
    if (task.rows != 1 || compute != DType::kF32) {  // one f32 row is its own packing
      std::byte* packed = packed_rows + scratch * thread;
      kernel.left_by_rows(x.row(task.row), x.stride, task.rows, k, packed);
      left = packed;
    }
    kernel.product({left, matrix(task.group)->data() + task.column * column_bytes, kernel.units(k),
                    task.rows, task.columns, y.row(task.row) + task.column, y.stride, accumulate});
  });
}

// dw(g) += dy^T x over the rows of group g.
template <class Offsets, class Gradient>
void grad_weight(Context& context, MatrixView<const float> dy, MatrixView<const float> x,
                 std::int64_t groups, const Offsets& offsets, DType compute,
                 const Gradient& gradient) {
  const MatmulKernels& kernel = kernels_for(compute);
  const std::int64_t n = dy.cols;
  const std::int64_t k = x.cols;
  if (n == 0 || k == 0) return;
  const int threads = context.pool.size();
  const std::int64_t left_rows = std::max<std::int64_t>(
      kernel.rows, kLeftBytes / 2 / (kernel.units(kGradRows) * kernel.left_bytes));
  const std::int64_t right_columns =
      std::max<std::int64_t>(1, kRightBytes / kernel.panel_size(kGradRows)) * kernel.panel;

  const std::int64_t rows_total = offsets(groups) - offsets(0);
  const std::int64_t target =
      std::max<std::int64_t>(1, rows_total * n / (threads * kTasksPerThread));
  // No fewer than four tiles of dw rows, so that packing x again for each part stays cheap.
  const std::int64_t most_parts = ceil_div(n, std::int64_t{kernel.rows} * 4);
  const auto tasks = make_tasks(context, [&](const auto& add) {
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::int64_t rows = offsets(g + 1) - offsets(g);
      if (rows == 0) continue;
      const std::int64_t wanted = threads == 1 ? 1 : ceil_div(rows * n, target);
      const std::int64_t parts =
          std::max(std::clamp<std::int64_t>(wanted, 1, most_parts), ceil_div(n, left_rows));
      const std::int64_t column_parts = ceil_div(k, right_columns);
      for (std::int64_t part = 0; part < parts; ++part) {
        const Range r = part_of(n, 1, part, parts);
        for (std::int64_t column_part = 0; column_part < column_parts; ++column_part) {
          const Range c = part_of(k, kernel.panel, column_part, column_parts);
          if (r.count > 0) add(Task{g, r.begin, r.count, c.begin, c.count});
        }
      }
    }
  });

  const std::int64_t left_size = ceil_div(kernel.left_size(left_rows, kGradRows), 64) * 64;
  const std::int64_t right_size = right_columns / kernel.panel * kernel.panel_size(kGradRows);
  std::byte* lefts = context.scratch<std::byte>(Context::kPackRows, left_size * threads);
  std::byte* rights = context.scratch<std::byte>(Context::kPackColumns, right_size * threads);
  run_tasks(context, static_cast<std::int64_t>(tasks.size()), [&](int thread, std::int64_t i) {
    const Task& task = tasks[static_cast<std::size_t>(i)];
    const MatrixView<float> dw = gradient(task.group);
    std::byte* left = lefts + left_size * thread;
    std::byte* right = rights + right_size * thread;
    const std::int64_t end = offsets(task.group + 1);
    for (std::int64_t row = offsets(task.group); row < end; row += kGradRows) {
      const std::int64_t rows = std::min(kGradRows, end - row);
      for (std::int64_t c = 0; c < task.columns; c += kernel.panel) {
        kernel.right_by_columns(x.row(row) + task.column + c, x.stride,
                                std::min<std::int64_t>(kernel.panel, task.columns - c), rows,
                                right + c / kernel.panel * kernel.panel_size(rows));
      }
      kernel.left_by_columns(dy.row(row) + task.row, dy.stride, task.rows, rows, left);
      kernel.product({left, right, kernel.units(rows), task.rows, task.columns,
                      dw.row(task.row) + task.column, dw.stride, true});
    }
  });
}

void check_offsets(std::span<const std::int32_t> offsets_E1, std::int64_t rows) {
  CONCLAVE_CHECK(!offsets_E1.empty() && offsets_E1.front() == 0 && offsets_E1.back() == rows,
                 "expert offsets must run from 0 to {} rows", rows);
  CONCLAVE_CHECK(std::is_sorted(offsets_E1.begin(), offsets_E1.end()), "expert offsets fall");
}

}  // namespace

void PackedMatrix::pack(Context& context, MatrixView<const float> w, DType compute,
                        bool transposed) {
  const MatmulKernels& kernel = kernels_for(compute);
  n_ = transposed ? w.cols : w.rows;
  k_ = transposed ? w.rows : w.cols;
  compute_ = compute;
  buffer_.reserve(static_cast<std::size_t>(kernel.panels(n_) * kernel.panel_size(k_)));
  pack_matrix(context, kernel, w, transposed, n_, k_, buffer_.data());
}

void PackedMatrix::pack(Context& context, MatrixView<const bf16> w, DType compute,
                        bool transposed) {
  const MatmulKernels& kernel = kernels_for(compute);
  n_ = transposed ? w.cols : w.rows;
  k_ = transposed ? w.rows : w.cols;
  compute_ = compute;
  buffer_.reserve(static_cast<std::size_t>(kernel.panels(n_) * kernel.panel_size(k_)));
  pack_matrix(context, kernel, w, transposed, n_, k_, buffer_.data());
}

void matmul(Context& context, MatrixView<const float> x, const PackedMatrix& b, MatrixView<float> y,
            bool accumulate) {
  CONCLAVE_CHECK(x.cols == b.k() && y.cols == b.n() && x.rows == y.rows,
                 "x [{}, {}] B [{}, {}] -> y [{}, {}]", x.rows, x.cols, b.k(), b.n(), y.rows,
                 y.cols);
  forward(
      context, x, 1, [&](std::int64_t g) { return g == 0 ? 0 : x.rows; },
      [&](std::int64_t) { return &b; }, b.compute(), y, accumulate);
}

void matmul_grad_weight(Context& context, MatrixView<const float> dy, MatrixView<const float> x,
                        DType compute, MatrixView<float> dw) {
  CONCLAVE_CHECK(dy.rows == x.rows && dw.rows == dy.cols && dw.cols == x.cols,
                 "dy [{}, {}]^T x [{}, {}] -> dw [{}, {}]", dy.rows, dy.cols, x.rows, x.cols,
                 dw.rows, dw.cols);
  grad_weight(
      context, dy, x, 1, [&](std::int64_t g) { return g == 0 ? 0 : x.rows; }, compute,
      [&](std::int64_t) { return dw; });
}

void grouped_matmul(Context& context, MatrixView<const float> x,
                    std::span<const std::int32_t> expert_offsets_E1,
                    std::span<const PackedMatrix* const> b, MatrixView<float> y) {
  check_offsets(expert_offsets_E1, x.rows);
  CONCLAVE_CHECK(x.rows == y.rows && b.size() + 1 == expert_offsets_E1.size(),
                 "{} rows of x, {} of y, {} matrices, {} offsets", x.rows, y.rows, b.size(),
                 expert_offsets_E1.size());
  if (x.rows == 0) return;
  const auto offset = [&](std::int64_t g) -> std::int64_t {
    return expert_offsets_E1[static_cast<std::size_t>(g)];
  };
  const PackedMatrix* first = nullptr;
  for (std::size_t e = 0; e < b.size(); ++e) {
    if (expert_offsets_E1[e] == expert_offsets_E1[e + 1]) continue;
    CONCLAVE_CHECK(b[e] != nullptr, "expert {} has rows and no matrix", e);
    if (first == nullptr) first = b[e];
    CONCLAVE_CHECK(
        b[e]->k() == x.cols && b[e]->n() == y.cols && b[e]->compute() == first->compute(),
        "expert {}: x [{}, {}] B [{}, {}] -> y [{}, {}]", e, x.rows, x.cols, b[e]->k(), b[e]->n(),
        y.rows, y.cols);
  }
  forward(
      context, x, static_cast<std::int64_t>(b.size()), offset,
      [&](std::int64_t g) { return b[static_cast<std::size_t>(g)]; }, first->compute(), y, false);
}

void grouped_matmul_grad_weight(Context& context, MatrixView<const float> dy,
                                MatrixView<const float> x,
                                std::span<const std::int32_t> expert_offsets_E1, DType compute,
                                std::span<const MatrixView<float>> dw) {
  check_offsets(expert_offsets_E1, x.rows);
  CONCLAVE_CHECK(x.rows == dy.rows && dw.size() + 1 == expert_offsets_E1.size(),
                 "{} rows of x, {} of dy, {} gradients, {} offsets", x.rows, dy.rows, dw.size(),
                 expert_offsets_E1.size());
  for (std::size_t e = 0; e < dw.size(); ++e) {
    if (expert_offsets_E1[e] == expert_offsets_E1[e + 1]) continue;
    CONCLAVE_CHECK(dw[e].rows == dy.cols && dw[e].cols == x.cols,
                   "expert {}: dy [{}, {}]^T x [{}, {}] -> dw [{}, {}]", e, dy.rows, dy.cols,
                   x.rows, x.cols, dw[e].rows, dw[e].cols);
  }
  grad_weight(
      context, dy, x, static_cast<std::int64_t>(dw.size()),
      [&](std::int64_t g) -> std::int64_t {
        return expert_offsets_E1[static_cast<std::size_t>(g)];
      },
      compute, [&](std::int64_t g) { return dw[static_cast<std::size_t>(g)]; });
}

}  // namespace conclave::ops
