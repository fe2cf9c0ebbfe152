// GGUF files, versions 2 and 3, little endian (ggml, docs/gguf.md): typed metadata and tensors in
// blocks of quantised types, in one file or split as NAME-00001-of-0000N.gguf.
//
// A file is a list of claims about sizes. Each is checked against the bytes that are there before
// memory is taken; data is read with pread, never mapped. Safe to read from several threads.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "io/bounded_reader.h"
#include "io/gguf_types.h"
#include "sys/files.h"
#include "tensor/tensor.h"

namespace conclave::io {

enum class GgufKind : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

// Many strings in one piece of memory: a vocabulary costs its bytes and 8 per entry.
class StringTable {
 public:
  void reserve(std::size_t count) { ends_.reserve(count); }
  void push_back(std::string_view text) {
    text_ += text;
    ends_.push_back(text_.size());
  }
  std::size_t size() const { return ends_.size(); }
  std::string_view operator[](std::size_t i) const {
    const std::uint64_t begin = i == 0 ? 0 : ends_[i - 1];
    return std::string_view(text_).substr(begin, ends_[i] - begin);
  }

 private:
  std::string text_;
  std::vector<std::uint64_t> ends_;
};

// Items of one kind: numbers and booleans as their bytes in the file, strings, or arrays.
struct GgufArray {
  GgufKind item = GgufKind::kU8;
  std::vector<std::byte> numbers;
  StringTable strings;
  std::vector<GgufArray> arrays;

  std::size_t size() const;
  static GgufArray of(std::span<const std::int32_t> values);
  static GgufArray of(std::span<const float> values);
  static GgufArray of(const std::vector<std::string>& values);
};

// The alternative's index is the GgufKind.
using GgufValue = std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t,
                               std::uint32_t, std::int32_t, float, bool, std::string, GgufArray,
                               std::uint64_t, std::int64_t, double>;

// Keys and values in the order of the file, with typed getters. Errors are Error(kBadFile):
// "x.gguf: key 'llama.expert_count': found 0, expected an integer from 1 to 65536". Any integer
// kind serves as an integer, and any number as a number.
class GgufMetadata {
 public:
  GgufMetadata() : GgufMetadata("GGUF metadata") {}
  explicit GgufMetadata(std::string file_name) : file_name_(std::move(file_name)) {}

  const std::vector<std::pair<std::string, GgufValue>>& entries() const { return entries_; }
  const GgufValue* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }
  void set(std::string key, GgufValue value);  // replaces

  std::int64_t integer(std::string_view key, std::int64_t min, std::int64_t max) const;
  std::int64_t integer(std::string_view key, std::int64_t min, std::int64_t max,
                       std::int64_t if_absent) const;
  double number(std::string_view key, double min, double max) const;
  double number(std::string_view key, double min, double max, double if_absent) const;
  bool boolean(std::string_view key) const;
  bool boolean(std::string_view key, bool if_absent) const;
  std::string string(std::string_view key) const;
  std::string string(std::string_view key, std::string_view if_absent) const;
  // A single number counts as a list of one (attention.head_count_kv is either).
  std::vector<std::int64_t> integers(std::string_view key, std::int64_t min,
                                     std::int64_t max) const;
  std::vector<double> numbers(std::string_view key) const;
  const StringTable& strings(std::string_view key) const;

  [[noreturn]] void fail_at(std::string_view key, const std::string& message) const;

 private:
  friend class GgufParser;
  const GgufValue& get(std::string_view key, const char* expected) const;

  std::string file_name_;
  std::vector<std::pair<std::string, GgufValue>> entries_;
};

struct GgufTensor {
  std::string name;
  const GgufTypeInfo* type = nullptr;
  std::vector<std::int64_t> dims;  // outermost first: the reverse of GGUF's "ne"
  std::uint64_t offset = 0;        // of the first byte, in its file
  std::uint64_t bytes = 0;
  int file = 0;

  std::int64_t count() const;
  std::string shape_str() const;
};

struct GgufHeader {
  std::uint32_t version = 3;
  std::uint32_t alignment = 32;
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;  // sorted by name
};
// From the beginning of a whole file. Throws Error(kBadFile), and Error(kUnsupported) for version
// 1, big-endian files and unknown tensor types. This is the parser that is fuzzed.
GgufHeader parse_gguf(BoundedReader& reader);

class GgufSource {
 public:
  // A .gguf file; of a split model, any of its files. Throws what parse_gguf and sys::File throw.
  explicit GgufSource(const std::string& path);

  const std::string& path() const { return path_; }
  const std::vector<sys::File>& files() const { return files_; }
  const GgufMetadata& metadata() const { return metadata_; }  // of the first file
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* find(std::string_view name) const;
  // Throws Error(kNotFound) naming the path and the nearest name there is.
  const GgufTensor& get(std::string_view name) const;

  // As TensorSource: decoded to f32, row by row; Error(kBadFile) where the shape differs,
  // Error(kUnsupported) where the type cannot be decoded.
  void read_f32(std::string_view name, const Shape& expected, std::span<float> out) const;
  void read_f32(std::string_view name, const Shape& expected, MatrixView<float> out) const;
  // Rows [begin, begin + out.rows) of the tensor seen as a matrix of out.cols columns, which are
  // whole blocks.
  void read_f32_rows(const GgufTensor& tensor, std::int64_t begin, MatrixView<float> out) const;
  // Stored bytes [offset, offset + out.size()) of a tensor.
  void read_bytes(const GgufTensor& tensor, std::uint64_t offset, std::span<std::byte> out) const;

  std::string describe(const GgufTensor& tensor) const;

 private:
  void open_splits(const GgufHeader& first);
  void add(GgufHeader header);

  std::string path_;
  std::vector<sys::File> files_;
  GgufMetadata metadata_;
  std::vector<GgufTensor> tensors_;
};

// One tensor to be written. What it points to must live until the file is written.
struct GgufTensorToWrite {
  std::string name;
  const GgufTypeInfo* type = nullptr;
  std::vector<std::int64_t> dims;  // outermost first
  // Puts rows [begin, begin + count) of the tensor, seen as a matrix whose columns are the last
  // dimension, encoded into `out`; called in order.
  std::function<void(std::int64_t begin, std::int64_t count, std::span<std::byte> out)> fill;

  // From f32. Throws Error(kInvalidArgument) where the last dimension is not whole blocks.
  static GgufTensorToWrite floats(std::string name, QuantType type, const Shape& shape,
                                  MatrixView<const float> values);
  static GgufTensorToWrite raw(std::string name, const GgufTypeInfo& type,
                               std::vector<std::int64_t> dims, std::span<const std::byte> bytes);
  std::int64_t columns() const { return dims.empty() ? 1 : dims.back(); }
  std::int64_t rows() const;
  std::uint64_t row_bytes() const;
};

struct GgufOptions {
  std::uint32_t alignment = 32;
  std::uint64_t max_shard_bytes = 0;  // of tensor data; 0: one file
  sys::FileOps* ops = nullptr;        // null: the real ones
};

// Writes version 3, atomically (each file of a split model by itself), tensors in the order given,
// and returns the paths: `path`, or the numbered ones. Throws Error(kIo), and
// Error(kInvalidArgument) for a name used twice or too long, or more than four dimensions.
std::vector<std::string> write_gguf(const std::string& path, const GgufMetadata& metadata,
                                    std::span<const GgufTensorToWrite> tensors,
                                    const GgufOptions& options = {});

}  // namespace conclave::io
