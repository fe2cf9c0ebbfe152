// A file's tensors as rows of f32, whatever the file: what places (tensor_place.h) are read from.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "models/architecture.h"
#include "models/tensor_place.h"
#include "tensor/quant_types.h"
#include "tensor/tensor.h"

namespace conclave::models {

class StoredRows : public StoredNames {
 public:
  // The file or directory, for messages.
  virtual const std::string& path() const = 0;
  // Throws Error(kNotFound) where the tensor is missing and Error(kBadFile) where its shape is
  // another, and adds the names that the place uses to `used`.
  virtual void check(const TensorPlace& place, const ParamSpec& spec,
                     std::set<std::string>& used) const = 0;
  // Every tensor, for the check that none is left over.
  virtual std::vector<std::string> names() const = 0;
  virtual std::uint64_t stored_bytes() const = 0;
  // "BF16", "Q4_K", ...
  virtual std::set<std::string> stored_types() const = 0;
  // The type of one tensor; one that is not a QuantType counts as the smallest that holds it.
  virtual QuantType stored_type(const TensorPlace& place) const = 0;
  // Rows first, first + 1, ... of the stored tensor, seen as a matrix of dims.back() columns.
  virtual void read_rows(const TensorPlace& place, std::int64_t first,
                         MatrixView<float> out) const = 0;
  // The block type of whole rows as they are stored; nothing: only read_rows has them.
  virtual std::optional<QuantType> block_type(const TensorPlace& place) const = 0;
  // The same rows in that type, one after the other.
  virtual void read_blocks(const TensorPlace& place, std::int64_t first, std::int64_t count,
                           std::span<std::byte> out) const = 0;
};

// The weight at `place`; out has the weight's shape as a matrix (rows of its last dimension).
void read_place(const StoredRows& rows, const TensorPlace& place, MatrixView<float> out);
// The inverse: puts the weight into the whole stored tensor.
void scatter_place(const TensorPlace& place, MatrixView<const float> weight,
                   MatrixView<float> tensor);

// The same as blocks of rows.block_type(place), for places that take whole stored rows
// (can_take_blocks).
bool can_take_blocks(const TensorPlace& place);
void read_place_blocks(const StoredRows& rows, const TensorPlace& place, std::int64_t n_rows,
                       std::int64_t row_bytes, std::span<std::byte> out);

// A Hugging Face directory or file. F8_E4M3 tensors are multiplied by NAME_scale_inv, one factor a
// block of 128 x 128 (DeepSeek-V3); MXFP4 as gpt-oss stores it.
class SafetensorsRows final : public StoredRows {
 public:
  explicit SafetensorsRows(const std::string& path) : files_(path) {}
  const io::TensorSource& files() const { return files_; }

  const std::string& path() const override { return files_.path(); }
  bool has(const std::string& name) const override { return files_.find(name) != nullptr; }
  void check(const TensorPlace& place, const ParamSpec& spec,
             std::set<std::string>& used) const override;
  std::vector<std::string> names() const override { return files_.names(); }
  std::uint64_t stored_bytes() const override;
  std::set<std::string> stored_types() const override;
  QuantType stored_type(const TensorPlace& place) const override;
  void read_rows(const TensorPlace& place, std::int64_t first,
                 MatrixView<float> out) const override;
  std::optional<QuantType> block_type(const TensorPlace& place) const override;
  void read_blocks(const TensorPlace& place, std::int64_t first, std::int64_t count,
                   std::span<std::byte> out) const override;

 private:
  const io::TensorInfo& require(const std::string& name, const std::vector<std::int64_t>& dims,
                                const ParamSpec& spec, std::set<std::string>& used) const;
  void scale_blocks(const std::string& name, std::int64_t first, MatrixView<float> rows) const;

  io::TensorSource files_;
};

}  // namespace conclave::models
