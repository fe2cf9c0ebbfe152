#include "tensor/tensor.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "sys/memory.h"

namespace conclave {

Shape::Shape(std::initializer_list<std::int64_t> dims)
    : Shape(std::span<const std::int64_t>(dims.begin(), dims.size())) {}

Shape::Shape(std::span<const std::int64_t> dims) {
  CONCLAVE_CHECK(dims.size() <= kMaxRank, "rank {}", dims.size());
  std::copy(dims.begin(), dims.end(), dims_.begin());
  rank_ = static_cast<int>(dims.size());
  checked_count(dims, std::numeric_limits<std::int64_t>::max());
}

std::int64_t Shape::count() const {
  std::int64_t n = 1;
  for (std::int64_t dim : dims()) n *= dim;
  return n;
}

bool Shape::operator==(const Shape& other) const {
  return std::equal(dims().begin(), dims().end(), other.dims().begin(), other.dims().end());
}

std::string Shape::str() const { return fmt::format("[{}]", fmt::join(dims(), ", ")); }

std::int64_t checked_count(std::span<const std::int64_t> dims, std::int64_t limit) {
  std::int64_t n = 1;
  for (std::int64_t dim : dims) {
    if (dim < 0 || __builtin_mul_overflow(n, dim, &n) || n > limit) {
      fail(ErrorKind::kBadFile, "shape [{}] has more than {} elements", fmt::join(dims, ", "),
           limit);
    }
  }
  return n;
}

AlignedBuffer::AlignedBuffer(std::size_t bytes) {
  data_.reset(static_cast<std::byte*>(sys::allocate_memory(bytes)));
  if (!data_) fail(ErrorKind::kOutOfMemory, "cannot allocate {} bytes", bytes);
  size_ = bytes;
}

Tensor::Tensor(DType dtype, Shape shape)
    : dtype_(dtype),
      shape_(shape),
      buffer_(static_cast<std::size_t>(shape.count()) * dtype_size(dtype)) {
  std::memset(buffer_.data(), 0, bytes());
}

}  // namespace conclave
