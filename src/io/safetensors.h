// safetensors files: 8 bytes header length, a JSON header, and the tensors' bytes without holes.
// Accepted is what the reference reader accepts (huggingface/safetensors, tensor.rs), no more: a
// header of at most 100,000,000 bytes; known types; begin/end that match shape x type, follow each
// other without hole or overlap and end with the file; unique names.
//
// A TensorSource is one file, or a directory with model.safetensors or with the shards that
// model.safetensors.index.json lists. Data is read with pread, never mapped: a file that is cut
// while in use gives an error and not a signal. Safe to read from several threads.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/stored_type.h"
#include "sys/files.h"
#include "tensor/tensor.h"

namespace conclave::io {

struct TensorInfo {
  std::string name;
  StoredType type = StoredType::kF32;
  std::vector<std::int64_t> dims;  // outermost first; empty for a scalar
  std::uint64_t offset = 0;        // of the first byte, in its file
  std::uint64_t bytes = 0;
  int file = 0;  // index into TensorSource::files

  std::int64_t count() const;  // elements
  std::string shape_str() const;
};

// The checked header of one file: tensors sorted by name, offsets absolute. `content_bytes` is the
// size of the whole file. Throws Error(kBadFile). This is the parser that is fuzzed.
struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;
  std::map<std::string, std::string> metadata;
};
inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;
SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t file_bytes,
                                           const std::string& file_name);

class TensorSource {
 public:
  // `path`: a .safetensors file or a model directory. Throws Error(kNotFound), (kBadFile), (kIo).
  explicit TensorSource(const std::string& path);

  const std::string& path() const { return path_; }
  const std::vector<sys::File>& files() const { return files_; }
  // All tensors, sorted by name.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  std::vector<std::string> names() const;
  // Null where there is no such tensor.
  const TensorInfo* find(std::string_view name) const;
  // As find; throws Error(kNotFound) naming the path and the nearest names there are.
  const TensorInfo& get(std::string_view name) const;
  // __metadata__ of all files, the first file's value where several have a key.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  // Tensors that the index does not list: passed over, but worth a word to the user.
  const std::vector<std::string>& unexpected() const { return unexpected_; }

  // The tensor as f32, row by row into `out` (expected: count() elements, contiguous; or a matrix
  // of rows x cols = product of the leading dimensions x last dimension). Any stored float type.
  // Throws Error(kNotFound) where it is missing, Error(kBadFile) where the shape differs (both are
  // shown) or the type is not a float.
  void read_f32(std::string_view name, const Shape& expected, std::span<float> out) const;
  void read_f32(std::string_view name, const Shape& expected, MatrixView<float> out) const;
  // As read_f32 for rows [begin, begin + out.rows) of the tensor `info` seen as a matrix with
  // out.cols columns; for tensors that hold several matrices (stacked experts).
  void read_f32_rows(const TensorInfo& info, std::int64_t begin, MatrixView<float> out) const;
  // Stored bytes [offset, offset + out.size()) of a tensor.
  void read_bytes(const TensorInfo& info, std::uint64_t offset, std::span<std::byte> out) const;

  // "FILE: tensor 'NAME'", the beginning of messages about a tensor.
  std::string describe(const TensorInfo& info) const;

 private:
  void open_index(const std::string& directory, const std::string& index_path);
  void add_file(const std::string& path, const std::map<std::string, std::string>* weight_map);

  std::string path_;
  std::vector<sys::File> files_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
  std::vector<std::string> unexpected_;
};

// One tensor to be written. What it points to must live until the file is written.
struct TensorToWrite {
  std::string name;
  StoredType type = StoredType::kF32;
  std::vector<std::int64_t> dims;
  // Puts bytes [offset, offset + out.size()) of the stored, row-major tensor into `out`; called in
  // order, in pieces of a multiple of 64 bytes (but for the last).
  std::function<void(std::uint64_t offset, std::span<std::byte> out)> fill;

  // A matrix of f32 with dims whose product is rows x cols, stored as F32, F16 or BF16.
  static TensorToWrite floats(std::string name, StoredType type, const Shape& shape,
                              MatrixView<const float> values);
  // Bytes as they are.
  static TensorToWrite raw(std::string name, StoredType type, std::vector<std::int64_t> dims,
                           std::span<const std::byte> bytes);
  std::uint64_t bytes() const;
};

struct SafetensorsOptions {
  // Written beside "format": "pt", which transformers asks for.
  std::map<std::string, std::string> metadata = {};
  sys::FileOps* ops = nullptr;  // null: the real ones
};

// Writes one file atomically (sys::AtomicFile), tensors by falling element size and then by name,
// so that all are aligned. Throws Error(kIo), and Error(kInvalidArgument) for a name used twice.
void write_safetensors(const std::string& path, std::span<const TensorToWrite> tensors,
                       const SafetensorsOptions& options = {});

// Writes `directory`/model.safetensors, or, where the tensors need more than `max_shard_bytes`,
// model-0000i-of-0000n.safetensors and then model.safetensors.index.json. Weight files of an
// earlier save that the new one does not use are removed at the end. Tensors keep their order.
void write_model_safetensors(const std::string& directory, std::span<const TensorToWrite> tensors,
                             std::uint64_t max_shard_bytes = 5'000'000'000,
                             const SafetensorsOptions& options = {});

}  // namespace conclave::io
