// An f32 matrix that keeps its memory when it is resized: activations that are made again and
// again.
#pragma once

#include "tensor/tensor.h"

namespace conclave {

class FloatMatrix {
 public:
  // Content is undefined afterwards, except where the size stays the same.
  MatrixView<float> resize(std::int64_t rows, std::int64_t cols) {
    buffer_.reserve(static_cast<std::size_t>(rows * cols) * sizeof(float));
    view_ = {reinterpret_cast<float*>(buffer_.data()), rows, cols};
    return view_;
  }
  MatrixView<float> view() const { return view_; }
  float* data() const { return view_.data; }

 private:
  AlignedBuffer buffer_;
  MatrixView<float> view_;
};

}  // namespace conclave
