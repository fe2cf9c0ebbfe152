#include "ops/linear.h"

namespace conclave::ops {

void linear_repack(Context& context, Linear& linear) {
  linear.forward.pack(context, linear.w, linear.compute);
  if (linear.dw.data != nullptr) linear.backward.pack(context, linear.w, linear.compute, true);
}

void linear_forward(Context& context, const Linear& linear, MatrixView<const float> x,
                    MatrixView<float> y, bool accumulate) {
  matmul(context, x, linear.forward, y, accumulate);
}

void linear_backward(Context& context, const Linear& linear, MatrixView<const float> x,
                     MatrixView<const float> dy, MatrixView<float> dx, bool accumulate) {
  if (dx.data != nullptr) matmul(context, dy, linear.backward, dx, accumulate);
  matmul_grad_weight(context, dy, x, linear.compute, linear.dw);
}

}  // namespace conclave::ops
