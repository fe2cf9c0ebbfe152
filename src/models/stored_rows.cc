#include "models/stored_rows.h"

#include <algorithm>

#include "tensor/float_matrix.h"

namespace conclave::models {
namespace {

constexpr std::int64_t kScaleBlock = 128;  // F8 weights: one factor a block of 128 x 128
constexpr std::int64_t kMxBlock = 32;      // MXFP4: one exponent a block of 32

std::string shape_str(const std::vector<std::int64_t>& dims) {
  return Shape(std::span<const std::int64_t>(dims)).str();
}

std::int64_t source_row(const TensorPlace& place, std::int64_t row) {
  if (place.order.empty()) return row;
  const auto group = static_cast<std::int64_t>(place.order.size());
  return row / group * group + place.order[static_cast<std::size_t>(row % group)];
}

// Whole stored rows, in any order.
void read_whole_rows(const StoredRows& rows, const TensorPlace& place, MatrixView<float> out) {
  const std::int64_t first = place.offset / out.cols;
  const std::int64_t step = place.row_stride / out.cols;
  if (step == 1 && place.order.empty()) return rows.read_rows(place, first, out);
  if (step == 1) {  // one read of a group, then its rows in order
    const auto group = static_cast<std::int64_t>(place.order.size());
    FloatMatrix staging;
    const MatrixView<float> stored = staging.resize(group, out.cols);
    for (std::int64_t r = 0; r < out.rows; r += group) {
      rows.read_rows(place, first + r, stored);
      for (std::int64_t i = 0; i < group; ++i) {
        std::copy_n(stored.row(place.order[static_cast<std::size_t>(i)]), out.cols, out.row(r + i));
      }
    }
    return;
  }
  for (std::int64_t r = 0; r < out.rows; ++r) {
    rows.read_rows(place, first + source_row(place, r) * step, out.rows_range(r, 1));
  }
}

// Elements that are not neighbours: the stored rows that hold them are read as a piece.
void read_strided(const StoredRows& rows, const TensorPlace& place, MatrixView<float> out) {
  const std::int64_t cols = place.dims.back();
  const std::int64_t last =
      place.offset + (out.rows - 1) * place.row_stride + (out.cols - 1) * place.col_stride;
  const std::int64_t first_row = place.offset / cols;
  FloatMatrix staging;
  const MatrixView<float> stored = staging.resize(last / cols - first_row + 1, cols);
  rows.read_rows(place, first_row, stored);
  const float* base = stored.data + (place.offset - first_row * cols);
  for (std::int64_t r = 0; r < out.rows; ++r) {
    const float* from = base + source_row(place, r) * place.row_stride;
    float* to = out.row(r);
    for (std::int64_t c = 0; c < out.cols; ++c) to[c] = from[c * place.col_stride];
  }
}

void read_place_matrix(const StoredRows& rows, const TensorPlace& place, MatrixView<float> out) {
  CONCLAVE_CHECK(
      place.order.empty() || out.rows % static_cast<std::int64_t>(place.order.size()) == 0,
      "{}: {} rows in groups of {}", place.name, out.rows, place.order.size());
  if (place.col_stride == 1 && out.cols == place.dims.back()) {
    read_whole_rows(rows, place, out);
  } else {
    read_strided(rows, place, out);
  }
}

}  // namespace

void read_place(const StoredRows& rows, const TensorPlace& place, MatrixView<float> out) {
  if (out.rows == 1 && !place.order.empty()) {  // the order of a vector is that of its elements
    TensorPlace elements = place;
    elements.row_stride = place.col_stride;
    return read_place_matrix(rows, elements, {out.data, out.cols, 1});
  }
  read_place_matrix(rows, place, out);
}

void scatter_place(const TensorPlace& place, MatrixView<const float> weight,
                   MatrixView<float> tensor) {
  const bool vector = weight.rows == 1 && !place.order.empty();
  for (std::int64_t r = 0; r < weight.rows; ++r) {
    for (std::int64_t c = 0; c < weight.cols; ++c) {
      const std::int64_t at =
          vector ? place.offset + source_row(place, c) * place.col_stride
                 : place.offset + source_row(place, r) * place.row_stride + c * place.col_stride;
      tensor.data[at] = weight(r, c);
    }
  }
}

bool can_take_blocks(const TensorPlace& place) {
  return place.col_stride == 1 && place.offset % place.dims.back() == 0 &&
         place.row_stride % place.dims.back() == 0;
}

void read_place_blocks(const StoredRows& rows, const TensorPlace& place, std::int64_t n_rows,
                       std::int64_t row_bytes, std::span<std::byte> out) {
  const std::int64_t cols = place.dims.back();
  const std::int64_t first = place.offset / cols, step = place.row_stride / cols;
  if (step == 1 && place.order.empty()) return rows.read_blocks(place, first, n_rows, out);
  const auto piece = [&](std::int64_t row, std::int64_t count) {
    return out.subspan(static_cast<std::size_t>(row * row_bytes),
                       static_cast<std::size_t>(count * row_bytes));
  };
  if (step != 1) {
    for (std::int64_t r = 0; r < n_rows; ++r) {
      rows.read_blocks(place, first + source_row(place, r) * step, 1, piece(r, 1));
    }
    return;
  }
  const auto group = static_cast<std::int64_t>(place.order.size());
  std::vector<std::byte> stored(static_cast<std::size_t>(group * row_bytes));
  for (std::int64_t r = 0; r < n_rows; r += group) {
    rows.read_blocks(place, first + r, group, stored);
    for (std::int64_t i = 0; i < group; ++i) {
      std::copy_n(stored.data() + place.order[static_cast<std::size_t>(i)] * row_bytes, row_bytes,
                  piece(r + i, 1).data());
    }
  }
}

const io::TensorInfo& SafetensorsRows::require(const std::string& name,
                                               const std::vector<std::int64_t>& dims,
                                               const ParamSpec& spec,
                                               std::set<std::string>& used) const {
  const io::TensorInfo* info = files_.find(name);
  if (info == nullptr) {
    fail(ErrorKind::kNotFound, "{}: tensor '{}' ({}) is missing", files_.path(), name,
         describe(spec.id));
  }
  if (info->dims != dims) {
    fail(ErrorKind::kBadFile, "{}: has shape {}, but config.json asks for {}",
         files_.describe(*info), info->shape_str(), shape_str(dims));
  }
  used.insert(name);
  return *info;
}

void SafetensorsRows::check(const TensorPlace& place, const ParamSpec& spec,
                            std::set<std::string>& used) const {
  if (place.mxfp4) {
    std::vector<std::int64_t> dims = place.dims;
    if (dims.back() % kMxBlock != 0) {
      fail(ErrorKind::kBadFile, "{}: '{}': {} columns are not whole blocks of {}", files_.path(),
           place.name, dims.back(), kMxBlock);
    }
    dims.back() /= kMxBlock;
    for (const char* part : {"_scales", "_blocks"}) {
      if (part[1] == 'b') dims.push_back(kMxBlock / 2);
      const io::TensorInfo& info = require(place.name + part, dims, spec, used);
      if (info.type != io::StoredType::kU8) {
        fail(ErrorKind::kBadFile, "{}: has type {}, expected U8", files_.describe(info),
             io::stored_type_name(info.type));
      }
    }
    return;
  }
  const io::TensorInfo& info = require(place.name, place.dims, spec, used);
  if (info.type != io::StoredType::kF8E4M3) return;
  const std::string scales = place.name + "_scale_inv";
  if (!has(scales)) return;  // plain F8 values
  std::vector<std::int64_t> dims = place.dims;
  for (std::size_t i = dims.size() - std::min<std::size_t>(2, dims.size()); i < dims.size(); ++i) {
    dims[i] = (dims[i] + kScaleBlock - 1) / kScaleBlock;
  }
  require(scales, dims, spec, used);
}

std::uint64_t SafetensorsRows::stored_bytes() const {
  std::uint64_t bytes = 0;
  for (const io::TensorInfo& info : files_.tensors()) bytes += info.bytes;
  return bytes;
}

std::set<std::string> SafetensorsRows::stored_types() const {
  std::set<std::string> types;
  for (const io::TensorInfo& info : files_.tensors()) {
    types.insert(std::string(io::stored_type_name(info.type)));
  }
  return types;
}

QuantType SafetensorsRows::stored_type(const TensorPlace& place) const {
  if (place.mxfp4) return QuantType::kMXFP4;
  switch (files_.get(place.name).type) {
    case io::StoredType::kF16:
      return QuantType::kF16;
    case io::StoredType::kBF16:
    case io::StoredType::kF8E4M3:
    case io::StoredType::kF8E5M2:
      return QuantType::kBF16;
    default:
      return QuantType::kF32;
  }
}

void SafetensorsRows::read_rows(const TensorPlace& place, std::int64_t first,
                                MatrixView<float> out) const {
  if (!place.mxfp4) {
    const io::TensorInfo& info = files_.get(place.name);
    files_.read_f32_rows(info, first, out);
    if (info.type == io::StoredType::kF8E4M3) scale_blocks(place.name, first, out);
    return;
  }
  const std::int64_t row_bytes = quant_bytes(QuantType::kMXFP4, out.cols);
  std::vector<std::byte> blocks(static_cast<std::size_t>(row_bytes));
  for (std::int64_t r = 0; r < out.rows; ++r) {
    read_blocks(place, first + r, 1, blocks);
    dequantize(QuantType::kMXFP4, blocks.data(), out.cols, out.row(r));
  }
}

void SafetensorsRows::scale_blocks(const std::string& name, std::int64_t first,
                                   MatrixView<float> rows) const {
  const io::TensorInfo* info = files_.find(name + "_scale_inv");
  if (info == nullptr || info->dims.size() != 2) return;
  const std::int64_t first_block = first / kScaleBlock;
  const std::int64_t n_blocks = (first + rows.rows - 1) / kScaleBlock - first_block + 1;
  FloatMatrix staging;
  const MatrixView<float> scales = staging.resize(n_blocks, info->dims[1]);
  files_.read_f32_rows(*info, first_block, scales);
  for (std::int64_t r = 0; r < rows.rows; ++r) {
    const float* scale = scales.row((first + r) / kScaleBlock - first_block);
    for (std::int64_t c = 0; c < rows.cols; ++c) rows(r, c) *= scale[c / kScaleBlock];
  }
}

std::optional<QuantType> SafetensorsRows::block_type(const TensorPlace& place) const {
  if (place.mxfp4) return QuantType::kMXFP4;
  return {};
}

// gpt-oss keeps consecutive elements in the nibbles of a byte (low first); a block of ours keeps
// elements j and j + 16, as GGUF does, after its exponent.
void SafetensorsRows::read_blocks(const TensorPlace& place, std::int64_t first, std::int64_t count,
                                  std::span<std::byte> out) const {
  const auto n = static_cast<std::size_t>(count * place.dims.back() / kMxBlock);
  const std::size_t row_blocks = static_cast<std::size_t>(place.dims.back() / kMxBlock);
  std::vector<std::byte> nibbles(n * kMxBlock / 2), scales(n);
  const std::uint64_t begin = static_cast<std::uint64_t>(first) * row_blocks;
  files_.read_bytes(files_.get(place.name + "_blocks"), begin * kMxBlock / 2, nibbles);
  files_.read_bytes(files_.get(place.name + "_scales"), begin, scales);
  constexpr std::size_t kBytes = 1 + kMxBlock / 2;
  CONCLAVE_CHECK(out.size() == n * kBytes);
  for (std::size_t b = 0; b < n; ++b) {
    std::byte* to = out.data() + b * kBytes;
    const std::byte* from = nibbles.data() + b * (kMxBlock / 2);
    const auto element = [&](std::size_t i) {
      return i % 2 == 0 ? from[i / 2] & std::byte{15} : from[i / 2] >> 4;
    };
    to[0] = scales[b];
    for (std::size_t j = 0; j < 16; ++j) to[1 + j] = element(j) | (element(j + 16) << 4);
  }
}

}  // namespace conclave::models
