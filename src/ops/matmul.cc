#include "ops/matmul.h"

#include <algorithm>
#include <limits>

#include "kernels/matmul/matmul_kernels.h"
#include "kernels/qmatmul/qmatmul_layout.h"
#include "ops/matmul_tasks.h"
#include "ops/quant_tasks.h"
#include "sys/cpu.h"

namespace conclave::ops {
namespace {

using kernels::MatmulKernels;

const MatmulKernels& kernel_for(DType compute) {
  CONCLAVE_CHECK(compute == DType::kF32 || compute == DType::kBF16 || compute == DType::kF16,
                 "compute type {}", dtype_name(compute));
  return kernels::matmul_kernels(sys::best_isa(), compute);
}

template <class T>
void pack_panels(Context& context, const MatmulKernels& kernel, kernels::MatmulPack<T> by_rows,
                 kernels::MatmulPack<T> by_columns, MatrixView<const T> w, bool transposed,
                 std::byte* packed) {
  const std::int64_t n = transposed ? w.cols : w.rows;
  const std::int64_t k = transposed ? w.rows : w.cols;
  context.pool.parallel_for(kernel.panels(n), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t panel = begin; panel < end; ++panel) {
      const std::int64_t column = panel * kernel.panel;
      const std::int64_t count = std::min<std::int64_t>(kernel.panel, n - column);
      std::byte* out = packed + panel * kernel.panel_size(k);
      if (transposed) {
        by_columns(w.data + column, w.stride, count, k, out);
      } else {
        by_rows(w.row(column), w.stride, count, k, out);
      }
    }
  });
}

void check_offsets(std::span<const std::int32_t> offsets_E1, std::int64_t rows) {
  CONCLAVE_CHECK(!offsets_E1.empty() && offsets_E1.front() == 0 && offsets_E1.back() == rows,
                 "expert offsets must run from 0 to {} rows", rows);
  CONCLAVE_CHECK(std::is_sorted(offsets_E1.begin(), offsets_E1.end()), "expert offsets fall");
}

void check_rows(std::int64_t rows) {
  CONCLAVE_CHECK(rows <= std::numeric_limits<std::int32_t>::max(), "{} rows", rows);
}

}  // namespace

void PackedMatrix::resize(const MatmulKernels& kernel, std::int64_t n, std::int64_t k) {
  kernel_ = &kernel;
  parts_.clear();
  n_ = n;
  k_ = k;
  buffer_.reserve(static_cast<std::size_t>(kernel.panels(n) * kernel.panel_size(k)));
}

void PackedMatrix::pack(Context& context, MatrixView<const float> w, DType compute,
                        bool transposed) {
  pack_for(context, kernel_for(compute), w, transposed);
}

void PackedMatrix::pack_for(Context& context, const MatmulKernels& kernel,
                            MatrixView<const float> w, bool transposed) {
  resize(kernel, transposed ? w.cols : w.rows, transposed ? w.rows : w.cols);
  pack_panels(context, kernel, kernel.right_by_rows, kernel.right_by_columns, w, transposed,
              buffer_.data());
}

void PackedMatrix::pack(Context& context, MatrixView<const bf16> w, DType compute,
                        bool transposed) {
  const MatmulKernels& kernel = kernel_for(compute);
  resize(kernel, transposed ? w.cols : w.rows, transposed ? w.rows : w.cols);
  pack_panels(context, kernel, kernel.right_by_rows_bf16, kernel.right_by_columns_bf16, w,
              transposed, buffer_.data());
}

void PackedMatrix::place_blocks(std::int64_t k, std::span<const BlockRows> parts,
                                WeightArena* arena) {
  CONCLAVE_CHECK(!parts.empty(), "no rows to pack");
  std::int64_t n = 0, bytes = 0;
  parts_.clear();
  for (const BlockRows& part : parts) {
    const kernels::QuantLayout* layout = kernels::quant_layout(part.type);
    CONCLAVE_CHECK(
        layout != nullptr && k % layout->block_count == 0 &&
            static_cast<std::int64_t>(part.bytes.size()) == part.n * quant_bytes(part.type, k),
        "{} rows of {} in {} bytes of {}", part.n, k, part.bytes.size(),
        quant_info(part.type).name);
    parts_.push_back({part.type, n, part.n, nullptr});
    n += part.n;
    bytes += layout->panels(part.n) * layout->panel_size(k);
  }
  kernel_ = nullptr;
  n_ = n;
  k_ = k;
  quant_size_ = static_cast<std::size_t>(bytes);
  if (arena == nullptr) buffer_.reserve(quant_size_);
  std::byte* out = arena == nullptr ? buffer_.data() : arena->take(quant_size_);
  for (QuantPart& part : parts_) {
    const kernels::QuantLayout& layout = *kernels::quant_layout(part.type);
    part.panels = out;
    out += layout.panels(part.n) * layout.panel_size(k);
  }
}

void PackedMatrix::pack_blocks(Context& context, std::int64_t k, std::span<const BlockRows> parts,
                               WeightArena* arena) {
  place_blocks(k, parts, arena);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    context.pool.parallel_for(kernels::QuantLayout::panels(parts[i].n), 1,
                              [&](std::int64_t begin, std::int64_t end) {
                                pack_quant_panels(parts[i], k, begin, end, parts_[i].panels);
                              });
  }
}

void PackedMatrix::pack_blocks(std::int64_t k, std::span<const BlockRows> parts,
                               WeightArena* arena) {
  place_blocks(k, parts, arena);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    pack_quant_panels(parts[i], k, 0, kernels::QuantLayout::panels(parts[i].n), parts_[i].panels);
  }
}

void PackedMatrix::decode_row(std::int64_t i, float* out) const {
  CONCLAVE_CHECK(i >= 0 && i < n_ && !parts_.empty(), "row {} of {}", i, n_);
  const QuantPart* part = parts_.data();
  while (i >= part->column + part->n) ++part;
  decode_quant_row(*part, i - part->column, k_, out);
}

DType PackedMatrix::compute() const { return kernel_ == nullptr ? DType::kF32 : kernel_->compute; }

void matmul(Context& context, MatrixView<const float> x, const PackedMatrix& b, MatrixView<float> y,
            bool accumulate) {
  CONCLAVE_CHECK(b.packed(), "the matrix was never packed");
  CONCLAVE_CHECK(x.cols == b.k() && y.cols == b.n() && x.rows == y.rows,
                 "x [{}, {}] B [{}, {}] -> y [{}, {}]", x.rows, x.cols, b.k(), b.n(), y.rows,
                 y.cols);
  check_rows(x.rows);
  const std::int32_t offsets[] = {0, static_cast<std::int32_t>(x.rows)};
  const PackedMatrix* const matrices[] = {&b};
  if (!b.quant_parts().empty()) {
    multiply_quant_groups(context, quant_kernel(), x, offsets, matrices, y, accumulate);
    return;
  }
  multiply_groups(context, *b.kernel(), x, offsets, matrices, y, accumulate);
}

void matmul_grad_weight(Context& context, MatrixView<const float> dy, MatrixView<const float> x,
                        DType compute, MatrixView<float> dw) {
  CONCLAVE_CHECK(dy.rows == x.rows && dw.rows == dy.cols && dw.cols == x.cols,
                 "dy [{}, {}]^T x [{}, {}] -> dw [{}, {}]", dy.rows, dy.cols, x.rows, x.cols,
                 dw.rows, dw.cols);
  check_rows(x.rows);
  const std::int32_t offsets[] = {0, static_cast<std::int32_t>(x.rows)};
  const MatrixView<float> gradients[] = {dw};
  add_weight_gradients(context, kernel_for(compute), dy, x, offsets, gradients);
}

void grouped_matmul(Context& context, MatrixView<const float> x,
                    std::span<const std::int32_t> expert_offsets_E1,
                    std::span<const PackedMatrix* const> b, MatrixView<float> y) {
  check_offsets(expert_offsets_E1, x.rows);
  CONCLAVE_CHECK(x.rows == y.rows && b.size() + 1 == expert_offsets_E1.size(),
                 "{} rows of x, {} of y, {} matrices, {} offsets", x.rows, y.rows, b.size(),
                 expert_offsets_E1.size());
  const PackedMatrix* first = nullptr;
  bool uniform = true;
  for (std::size_t e = 0; e < b.size(); ++e) {
    if (expert_offsets_E1[e] == expert_offsets_E1[e + 1]) continue;
    CONCLAVE_CHECK(b[e] != nullptr && b[e]->packed(), "expert {} has rows, no matrix", e);
    CONCLAVE_CHECK(b[e]->k() == x.cols && b[e]->n() == y.cols,
                   "expert {}: x [{}, {}] B [{}, {}] -> y [{}, {}]", e, x.rows, x.cols, b[e]->k(),
                   b[e]->n(), y.rows, y.cols);
    if (first == nullptr) first = b[e];
    uniform = uniform && b[e]->kernel() == first->kernel();  // null for all quantised ones
  }
  if (first == nullptr) return;  // no rows at all
  if (!uniform) {
    for (std::size_t e = 0; e < b.size(); ++e) {
      const std::int64_t begin = expert_offsets_E1[e], rows = expert_offsets_E1[e + 1] - begin;
      if (rows > 0) matmul(context, x.rows_range(begin, rows), *b[e], y.rows_range(begin, rows));
    }
  } else if (first->kernel() == nullptr) {
    multiply_quant_groups(context, quant_kernel(), x, expert_offsets_E1, b, y, false);
  } else {
    multiply_groups(context, *first->kernel(), x, expert_offsets_E1, b, y, false);
  }
}

bool can_multiply_gated(std::span<const PackedMatrix* const> b) { return can_gate_quant_groups(b); }

void grouped_matmul_gated(Context& context, MatrixView<const float> x,
                          std::span<const std::int32_t> rows_N,
                          std::span<const std::int32_t> expert_offsets_E1,
                          std::span<const PackedMatrix* const> b, const GatedUnit& unit,
                          MatrixView<float> h) {
  check_offsets(expert_offsets_E1, h.rows);
  CONCLAVE_CHECK(b.size() + 1 == expert_offsets_E1.size() && can_multiply_gated(b));
  CONCLAVE_CHECK(rows_N.empty() ? x.rows == h.rows
                                : static_cast<std::int64_t>(rows_N.size()) == h.rows);
  for (std::size_t e = 0; e < b.size(); ++e) {
    if (expert_offsets_E1[e] == expert_offsets_E1[e + 1]) continue;
    CONCLAVE_CHECK(b[e] != nullptr && b[e]->k() == x.cols && b[e]->n() == 2 * h.cols,
                   "expert {}: x [{}, {}] -> h [{}, {}]", e, x.rows, x.cols, h.rows, h.cols);
  }
  gate_quant_groups(context, quant_kernel(), x, rows_N, expert_offsets_E1, b, unit, h);
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
  add_weight_gradients(context, kernel_for(compute), dy, x, expert_offsets_E1, dw);
}

}  // namespace conclave::ops
