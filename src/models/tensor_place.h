// Where a weight lies in a file. The world's files fuse, stack, transpose and permute what the
// engine keeps apart: a place says which elements of which stored tensor make up a weight.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tensor/parameters.h"

namespace conclave::models {

// Element (r, c) of the weight, seen as a matrix whose rows are its last dimension, is element
//   offset + source(r) * row_stride + c * col_stride
// of the stored tensor, counted in row-major order. source(r) = r, or, with `order`, within each
// group of order.size() rows, the row that order names.
struct TensorPlace {
  std::string name;
  std::vector<std::int64_t> dims;  // of the stored tensor, outermost first
  std::int64_t offset = 0;
  std::int64_t row_stride = 0;
  std::int64_t col_stride = 1;
  std::vector<std::int32_t> order;
  // The tensor is MXFP4 as gpt-oss stores it: NAME_blocks [..., K/32, 16] and NAME_scales
  // [..., K/32] of bytes; dims, offset and strides are those of the decoded matrix [..., K].
  bool mxfp4 = false;

  // The whole tensor `name`, of the weight's own shape.
  static TensorPlace whole(std::string name, const ParamSpec& spec);
  // Rows first_row, first_row + row_step, ... of a tensor of `dims` seen as a matrix whose rows are
  // the last dimension.
  static TensorPlace rows(std::string name, std::vector<std::int64_t> dims, std::int64_t first_row,
                          std::int64_t row_step = 1);
};

// Rows of a head whose rotary pairs are stored as neighbours (2i, 2i + 1), as the order in which
// the engine keeps them: (i, i + rotary_dim / 2). Rows from rotary_dim on stay.
std::vector<std::int32_t> halves_from_pairs(int head_dim, int rotary_dim);
// The same for a head stored as [other | rotary] that the engine keeps as [rotary | other];
// `pairs`: the rotary part is stored in pairs.
std::vector<std::int32_t> rotary_first(int other_dim, int rotary_dim, bool pairs);

}  // namespace conclave::models
