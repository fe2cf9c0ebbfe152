// Tensors own, views borrow. A tensor is a shape, an element type and aligned memory; a view is a
// pointer with a shape and is passed by value. The caller allocates outputs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>

#include "base/dtype.h"
#include "base/error.h"
#include "sys/memory.h"

namespace conclave {

// Up to five dimensions, outermost first. Construction checks that the element count fits int64;
// for sizes that come from a file use checked_count, which reports instead of aborting.
class Shape {
 public:
  static constexpr int kMaxRank = 5;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims);
  explicit Shape(std::span<const std::int64_t> dims);

  int rank() const { return rank_; }
  std::int64_t operator[](int i) const { return dims_[static_cast<std::size_t>(i)]; }
  std::int64_t count() const;
  std::span<const std::int64_t> dims() const {
    return {dims_.data(), static_cast<std::size_t>(rank_)};
  }
  bool operator==(const Shape& other) const;
  std::string str() const;  // "[16, 256, 128]"

 private:
  std::array<std::int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

// The product of the dimensions, or an Error(kBadFile) where one is negative or it exceeds `limit`.
std::int64_t checked_count(std::span<const std::int64_t> dims, std::int64_t limit);

// Uninitialised memory aligned to 64 bytes (one cache line, one AVX-512 register) or more, in huge
// pages where it is large (sys/memory.h).
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t bytes);  // throws Error(kOutOfMemory)
  std::byte* data() const { return data_.get(); }
  std::size_t size() const { return size_; }
  // Grows (never shrinks) and forgets the content when it has to grow.
  void reserve(std::size_t bytes) {
    if (bytes > size_) *this = AlignedBuffer(bytes);
  }

 private:
  struct Free {
    void operator()(std::byte* p) const { sys::free_memory(p); }
  };
  std::unique_ptr<std::byte, Free> data_;
  std::size_t size_ = 0;
};

// A matrix that lives elsewhere: `rows` rows of `cols` elements, `stride` elements apart.
template <class T>
struct MatrixView {
  T* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;

  MatrixView() = default;
  MatrixView(T* d, std::int64_t r, std::int64_t c) : data(d), rows(r), cols(c), stride(c) {}
  MatrixView(T* d, std::int64_t r, std::int64_t c, std::int64_t s)
      : data(d), rows(r), cols(c), stride(s) {}
  operator MatrixView<const T>() const { return {data, rows, cols, stride}; }

  T* row(std::int64_t r) const { return data + r * stride; }
  T& operator()(std::int64_t r, std::int64_t c) const { return data[r * stride + c]; }
  MatrixView rows_range(std::int64_t begin, std::int64_t count) const {
    return {row(begin), count, cols, stride};
  }
  MatrixView cols_range(std::int64_t begin, std::int64_t count) const {
    return {data + begin, rows, count, stride};
  }
};

class Tensor {
 public:
  Tensor() = default;
  // Zero-filled.
  Tensor(DType dtype, Shape shape);

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::int64_t count() const { return shape_.count(); }
  std::size_t bytes() const { return static_cast<std::size_t>(count()) * dtype_size(dtype_); }
  std::byte* raw() const { return buffer_.data(); }

  template <class T>
  std::span<T> span() const {
    CONCLAVE_CHECK(DTypeOf<std::remove_const_t<T>>::value == dtype_, "tensor holds {}",
                   dtype_name(dtype_));
    return {reinterpret_cast<T*>(buffer_.data()), static_cast<std::size_t>(count())};
  }
  // All leading dimensions flattened into rows.
  template <class T>
  MatrixView<T> matrix() const {
    const std::int64_t cols = shape_.rank() == 0 ? 1 : shape_[shape_.rank() - 1];
    return {span<T>().data(), cols == 0 ? 0 : count() / cols, cols};
  }

 private:
  DType dtype_ = DType::kF32;
  Shape shape_;
  AlignedBuffer buffer_;
};

}  // namespace conclave
