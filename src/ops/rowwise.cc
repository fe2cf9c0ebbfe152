#include "ops/rowwise.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/choice.h"
#include "kernels/rmsnorm/rmsnorm.h"

namespace conclave::ops {
namespace {

// Rows that are worth a task: some 32 thousand numbers.
std::int64_t grain(std::int64_t cols) {
  return std::max<std::int64_t>(1, 32768 / std::max<std::int64_t>(1, cols));
}

// body(row) for every row, split over the pool.
template <class Body>
void for_rows(Context& context, std::int64_t rows, std::int64_t cols, const Body& body) {
  context.pool.parallel_for(rows, grain(cols), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) body(t);
  });
}

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

}  // namespace

void add_bias(Context& context, const float* bias_N, MatrixView<float> x) {
  for_rows(context, x.rows, x.cols, [&](std::int64_t t) {
    float* row = x.row(t);
    for (std::int64_t i = 0; i < x.cols; ++i) row[i] += bias_N[i];
  });
}

void add_scaled(Context& context, float factor, MatrixView<const float> x, MatrixView<float> y) {
  for_rows(context, x.rows, x.cols, [&](std::int64_t t) {
    const float* from = x.row(t);
    float* to = y.row(t);
    for (std::int64_t i = 0; i < x.cols; ++i) to[i] += factor * from[i];
  });
}

void add_scaled_rows(Context& context, const float* factor_T, MatrixView<const float> x,
                     MatrixView<float> y) {
  for_rows(context, x.rows, x.cols, [&](std::int64_t t) {
    const float* from = x.row(t);
    float* to = y.row(t);
    for (std::int64_t i = 0; i < x.cols; ++i) to[i] += factor_T[t] * from[i];
  });
}

void scale_rows(Context& context, const float* factor_T, MatrixView<float> x) {
  for_rows(context, x.rows, x.cols, [&](std::int64_t t) {
    float* row = x.row(t);
    for (std::int64_t i = 0; i < x.cols; ++i) row[i] *= factor_T[t];
  });
}

void scale(Context& context, float factor, MatrixView<float> x) {
  for_rows(context, x.rows, x.cols, [&](std::int64_t t) {
    float* row = x.row(t);
    for (std::int64_t i = 0; i < x.cols; ++i) row[i] *= factor;
  });
}

void clamp(Context& context, float limit, MatrixView<float> x) {
  for_rows(context, x.rows, x.cols, [&](std::int64_t t) {
    float* row = x.row(t);
    for (std::int64_t i = 0; i < x.cols; ++i) row[i] = std::min(std::max(row[i], -limit), limit);
  });
}

void sigmoid_inplace(std::span<float> x_T) {
  for (float& x : x_T) x = sigmoid(x);
}

void layernorm_forward(Context& context, MatrixView<const float> x, const float* w_N,
                       const float* b_N, float eps, MatrixView<float> y) {
  for_rows(context, x.rows, x.cols, [&](std::int64_t t) {
    const float* from = x.row(t);
    float* to = y.row(t);
    const auto n = static_cast<double>(x.cols);
    double sum = 0, squares = 0;
    for (std::int64_t i = 0; i < x.cols; ++i) sum += static_cast<double>(from[i]);
    const double mean = sum / n;
    for (std::int64_t i = 0; i < x.cols; ++i) {
      const double d = static_cast<double>(from[i]) - mean;
      squares += d * d;
    }
    const auto rstd = static_cast<float>(1.0 / std::sqrt(squares / n + static_cast<double>(eps)));
    const auto center = static_cast<float>(mean);
    for (std::int64_t i = 0; i < x.cols; ++i) {
      to[i] = (from[i] - center) * rstd * w_N[i] + (b_N == nullptr ? 0.0f : b_N[i]);
    }
  });
}

void rmsnorm_heads(Context& context, MatrixView<float> x, int n_heads, int head_dim,
                   const float* w_Q, float eps) {
  static const auto& kernel = kernels::best(kernels::rmsnorm_kernels());
  std::vector<float> ones;
  if (w_Q == nullptr) {
    ones.assign(static_cast<std::size_t>(head_dim), 1.0f);
    w_Q = ones.data();
  }
  for_rows(context, x.rows, std::int64_t{n_heads} * head_dim, [&](std::int64_t t) {
    kernel.forward({x.row(t), head_dim, w_Q, x.row(t), head_dim, nullptr, n_heads, head_dim, eps});
  });
}

void apply_sinks(Context& context, const float* sinks_H, const float* lse_TH, int n_heads,
                 int head_dim, MatrixView<float> out) {
  for_rows(context, out.rows, out.cols, [&](std::int64_t t) {
    for (int h = 0; h < n_heads; ++h) {
      const float share = sigmoid(lse_TH[t * n_heads + h] - sinks_H[h]);
      float* head = out.row(t) + std::int64_t{h} * head_dim;
      for (int i = 0; i < head_dim; ++i) head[i] *= share;
    }
  });
}

void clamped_swiglu_rows(MatrixView<const float> gate_up, float limit, MatrixView<float> h) {
  constexpr float kAlpha = 1.702f;
  for (std::int64_t t = 0; t < h.rows; ++t) {
    const float* gate = gate_up.row(t);
    const float* up = gate + h.cols;
    float* to = h.row(t);
    for (std::int64_t i = 0; i < h.cols; ++i) {
      const float g = std::min(gate[i], limit);
      const float u = std::min(std::max(up[i], -limit), limit);
      to[i] = (u + 1.0f) * (g * sigmoid(kAlpha * g));
    }
  }
}

void clamped_swiglu(Context& context, MatrixView<const float> gate_up, float limit,
                    MatrixView<float> h) {
  for_rows(context, h.rows, h.cols, [&](std::int64_t t) {
    clamped_swiglu_rows(gate_up.rows_range(t, 1), limit, h.rows_range(t, 1));
  });
}

}  // namespace conclave::ops
