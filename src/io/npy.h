// NumPy's .npy, version 1.0 (numpy/lib/format.py): matrices of little-endian f32 in C order.
#pragma once

#include <string>
#include <vector>

#include "sys/files.h"
#include "tensor/tensor.h"

namespace conclave::io {

// Atomic, as sys::AtomicFile. Throws Error(kIo).
void write_npy(const std::string& path, MatrixView<const float> matrix_RC,
               sys::FileOps& ops = sys::real_file_ops());

struct NpyMatrix {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::vector<float> values;  // row by row
};
// Reads what write_npy writes (one or two dimensions, '<f4', C order, any header version up to 3).
// Throws Error(kBadFile) for anything else.
NpyMatrix read_npy(const std::string& path);

}  // namespace conclave::io
