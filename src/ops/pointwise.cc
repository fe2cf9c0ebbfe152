#include "ops/pointwise.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/choice.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rope/rope.h"
#include "kernels/swiglu/swiglu.h"

namespace conclave::ops {
namespace {

// A fork and join costs a few microseconds; 16 Ki elements are about as much work in cache.
constexpr std::int64_t kGrainElements = 16384;

std::int64_t grain_rows(std::int64_t cols) {
  return std::max<std::int64_t>(1, kGrainElements / std::max<std::int64_t>(1, cols));
}

template <class A, class B>
void check_same(MatrixView<A> a, MatrixView<B> b) {
  CONCLAVE_CHECK(a.rows == b.rows && a.cols == b.cols, "[{}, {}] against [{}, {}]", a.rows, a.cols,
                 b.rows, b.cols);
}

const kernels::RmsNormKernel& rmsnorm() {
  static const auto& chosen = kernels::best(kernels::rmsnorm_kernels());
  return chosen;
}

const kernels::SwigluKernel& swiglu() {
  static const auto& chosen = kernels::best(kernels::swiglu_kernels());
  return chosen;
}

const kernels::ElementwiseKernel& elementwise() {
  static const auto& chosen = kernels::best(kernels::elementwise_kernels());
  return chosen;
}

const kernels::CrossEntropyKernel& cross_entropy() {
  static const auto& chosen = kernels::best(kernels::cross_entropy_kernels());
  return chosen;
}

void check_ids(std::span<const std::int32_t> ids, std::int64_t lowest, std::int64_t limit,
               const char* what) {
  for (std::size_t t = 0; t < ids.size(); ++t) {
    if (ids[t] >= lowest && ids[t] < limit) continue;
    fail(ErrorKind::kInvalidArgument, "{} of token {}: found {}, expected {} to {}", what, t,
         ids[t], lowest, limit - 1);
  }
}

}  // namespace

void rmsnorm_forward(Context& context, MatrixView<const float> x, const float* w_D, float eps,
                     MatrixView<float> y, float* rstd_T) {
  check_same(x, y);
  context.pool.parallel_for(x.rows, grain_rows(x.cols), [&](std::int64_t begin, std::int64_t end) {
    rmsnorm().forward({x.row(begin), x.stride, w_D, y.row(begin), y.stride,
                       rstd_T == nullptr ? nullptr : rstd_T + begin, end - begin, x.cols, eps});
  });
}

void rmsnorm_backward(Context& context, MatrixView<const float> x, const float* w_D,
                      const float* rstd_T, MatrixView<const float> dy, MatrixView<float> dx,
                      bool add_to_dx, float* dw_D) {
  check_same(x, dy);
  check_same(x, dx);
  // The weight's part first: dx may be dy.
  context.pool.parallel_for(x.cols, 16, [&](std::int64_t begin, std::int64_t end) {
    rmsnorm().backward_weight({x.data + begin, x.stride, nullptr, rstd_T, dy.data + begin,
                               dy.stride, nullptr, 0, false, dw_D + begin, x.rows, end - begin});
  });
  context.pool.parallel_for(x.rows, grain_rows(x.cols), [&](std::int64_t begin, std::int64_t end) {
    rmsnorm().backward_input({x.row(begin), x.stride, w_D, rstd_T + begin, dy.row(begin), dy.stride,
                              dx.row(begin), dx.stride, add_to_dx, nullptr, end - begin, x.cols});
  });
}

void rope_inplace(Context& context, MatrixView<float> x, int n_heads, int head_dim,
                  const RopeTable& table, std::span<const std::int32_t> positions_T, bool inverse) {
  CONCLAVE_CHECK(n_heads >= 0 && head_dim > 0 && std::int64_t{n_heads} * head_dim <= x.cols,
                 "{} heads of {} in {} columns", n_heads, head_dim, x.cols);
  CONCLAVE_CHECK(table.rotary_dim >= 0 && table.rotary_dim % 2 == 0 && table.rotary_dim <= head_dim,
                 "rotary width {} of {}", table.rotary_dim, head_dim);
  CONCLAVE_CHECK(static_cast<std::int64_t>(table.cos_sin.size()) >=
                 table.positions * table.rotary_dim);
  CONCLAVE_CHECK(static_cast<std::int64_t>(positions_T.size()) == x.rows);
  check_ids(positions_T, 0, table.positions, "rotary position");
  static const auto& kernel = kernels::best(kernels::rope_kernels());
  context.pool.parallel_for(
      x.rows, grain_rows(std::int64_t{n_heads} * head_dim),
      [&](std::int64_t begin, std::int64_t end) {
        kernel.rotate({x.row(begin), x.stride, end - begin, n_heads, head_dim, table.rotary_dim,
                       table.cos_sin.data(), positions_T.data() + begin, inverse});
      });
}

void swiglu_rows(MatrixView<const float> gate_up, MatrixView<float> h) {
  kernels::Swiglu a;
  a.gate_up = gate_up.data;
  a.gate_up_stride = gate_up.stride;
  a.h = h.data;
  a.h_stride = h.stride;
  a.rows = h.rows;
  a.width = h.cols;
  swiglu().forward(a);
}

void swiglu_forward(Context& context, MatrixView<const float> gate_up, MatrixView<float> h) {
  CONCLAVE_CHECK(gate_up.rows == h.rows && gate_up.cols == 2 * h.cols);
  context.pool.parallel_for(
      h.rows, grain_rows(gate_up.cols), [&](std::int64_t begin, std::int64_t end) {
        swiglu_rows(gate_up.rows_range(begin, end - begin), h.rows_range(begin, end - begin));
      });
}

void swiglu_backward(Context& context, MatrixView<const float> gate_up, MatrixView<const float> dh,
                     MatrixView<float> d_gate_up) {
  CONCLAVE_CHECK(gate_up.rows == dh.rows && gate_up.cols == 2 * dh.cols);
  check_same(gate_up, d_gate_up);
  context.pool.parallel_for(dh.rows, grain_rows(gate_up.cols),
                            [&](std::int64_t begin, std::int64_t end) {
                              kernels::Swiglu a;
                              a.gate_up = gate_up.row(begin);
                              a.gate_up_stride = gate_up.stride;
                              a.dh = dh.row(begin);
                              a.dh_stride = dh.stride;
                              a.d_gate_up = d_gate_up.row(begin);
                              a.d_gate_up_stride = d_gate_up.stride;
                              a.rows = end - begin;
                              a.width = dh.cols;
                              swiglu().backward(a);
                            });
}

void embedding_forward(Context& context, MatrixView<const float> table,
                       std::span<const std::int32_t> ids_T, MatrixView<float> x) {
  CONCLAVE_CHECK(static_cast<std::int64_t>(ids_T.size()) == x.rows && table.cols == x.cols);
  check_ids(ids_T, 0, table.rows, "token id");
  context.pool.parallel_for(x.rows, grain_rows(x.cols), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      std::copy_n(table.row(ids_T[static_cast<std::size_t>(t)]), x.cols, x.row(t));
    }
  });
}

void embedding_forward(Context& context, const PackedMatrix& table,
                       std::span<const std::int32_t> ids_T, MatrixView<float> x) {
  CONCLAVE_CHECK(static_cast<std::int64_t>(ids_T.size()) == x.rows && table.k() == x.cols);
  check_ids(ids_T, 0, table.n(), "token id");
  context.pool.parallel_for(x.rows, grain_rows(x.cols), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      table.decode_row(ids_T[static_cast<std::size_t>(t)], x.row(t));
    }
  });
}

void embedding_backward(Context& context, std::span<const std::int32_t> ids_T,
                        MatrixView<const float> dx, MatrixView<float> d_table) {
  CONCLAVE_CHECK(static_cast<std::int64_t>(ids_T.size()) == dx.rows && d_table.cols == dx.cols);
  check_ids(ids_T, 0, d_table.rows, "token id");
  context.pool.parallel_for(dx.cols, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = 0; t < dx.rows; ++t) {
      elementwise().add(dx.row(t) + begin, d_table.row(ids_T[static_cast<std::size_t>(t)]) + begin,
                        end - begin);
    }
  });
}

void add_inplace(Context& context, MatrixView<const float> x, MatrixView<float> y) {
  check_same(x, y);
  context.pool.parallel_for(x.rows, grain_rows(x.cols), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      elementwise().add(x.row(r), y.row(r), x.cols);
    }
  });
}

void cross_entropy_forward(Context& context, MatrixView<const float> logits,
                           std::span<const std::int32_t> targets_T, float* nll_T) {
  CONCLAVE_CHECK(static_cast<std::int64_t>(targets_T.size()) == logits.rows);
  check_ids(targets_T, -1, logits.cols, "target");
  context.pool.parallel_for(
      logits.rows, grain_rows(logits.cols), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t t = begin; t < end; ++t) {
          const std::int32_t target = targets_T[static_cast<std::size_t>(t)];
          nll_T[t] = target < 0 ? 0.f : cross_entropy().forward(logits.row(t), logits.cols, target);
        }
      });
}

void cross_entropy_forward_backward(Context& context, MatrixView<float> logits,
                                    std::span<const std::int32_t> targets_T, float scale,
                                    float* nll_T) {
  CONCLAVE_CHECK(static_cast<std::int64_t>(targets_T.size()) == logits.rows);
  check_ids(targets_T, -1, logits.cols, "target");
  context.pool.parallel_for(
      logits.rows, grain_rows(logits.cols), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t t = begin; t < end; ++t) {
          const std::int32_t target = targets_T[static_cast<std::size_t>(t)];
          if (target < 0) {
            std::fill_n(logits.row(t), logits.cols, 0.f);
            nll_T[t] = 0;
          } else {
            nll_T[t] = cross_entropy().forward_backward(logits.row(t), logits.cols, target, scale);
          }
        }
      });
}

}  // namespace conclave::ops
