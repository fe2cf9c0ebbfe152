// Writing half of gguf.h.
#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <set>

#include "base/error.h"
#include "io/gguf.h"
#include "sys/files.h"

namespace conclave::io {
namespace {

constexpr std::size_t kMaxName = 63;  // what ggml holds
constexpr std::uint64_t kChunkBytes = 1 << 20;

// Values as they stand in the file.
class Output {
 public:
  template <class T>
  requires std::is_arithmetic_v<T>
  void put(T value) {
    if constexpr (std::is_same_v<T, bool>) {
      put(static_cast<std::uint8_t>(value));
    } else {
      bytes_.append(reinterpret_cast<const char*>(&value), sizeof(T));
    }
  }
  void put(std::string_view text) {
    put(static_cast<std::uint64_t>(text.size()));
    bytes_ += text;
  }
  void put(const std::string& text) { put(std::string_view(text)); }
  void put(const GgufArray& array) {
    put(static_cast<std::uint32_t>(array.item));
    put(static_cast<std::uint64_t>(array.size()));
    bytes_.append(reinterpret_cast<const char*>(array.numbers.data()), array.numbers.size());
    for (std::size_t i = 0; i < array.strings.size(); ++i) put(array.strings[i]);
    for (const GgufArray& inner : array.arrays) put(inner);
  }
  void pad(std::uint64_t alignment) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment, '\0');
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

std::uint64_t padded(std::uint64_t bytes, std::uint64_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

std::uint64_t bytes_of(const GgufTensorToWrite& tensor) {
  return static_cast<std::uint64_t>(tensor.rows()) * tensor.row_bytes();
}

void check_tensors(std::span<const GgufTensorToWrite> tensors) {
  std::set<std::string_view> names;
  for (const GgufTensorToWrite& tensor : tensors) {
    if (!names.insert(tensor.name).second) {
      fail(ErrorKind::kInvalidArgument, "tensor '{}' is to be written twice", tensor.name);
    }
    if (tensor.name.size() > kMaxName || tensor.dims.size() > 4) {
      fail(ErrorKind::kInvalidArgument,
           "tensor '{}' with {} dimensions: GGUF holds names of {} bytes and four dimensions",
           tensor.name, tensor.dims.size(), kMaxName);
    }
  }
}

std::string header_of(const GgufMetadata& metadata, std::span<const GgufTensorToWrite> tensors,
                      std::uint32_t alignment) {
  Output out;
  out.put(std::uint32_t{0x46554747});
  out.put(std::uint32_t{3});
  out.put(static_cast<std::uint64_t>(tensors.size()));
  out.put(static_cast<std::uint64_t>(metadata.entries().size()));
  for (const auto& [key, value] : metadata.entries()) {
    out.put(key);
    out.put(static_cast<std::uint32_t>(value.index()));
    std::visit([&](const auto& v) { out.put(v); }, value);
  }
  std::uint64_t offset = 0;
  for (const GgufTensorToWrite& tensor : tensors) {
    out.put(tensor.name);
    out.put(static_cast<std::uint32_t>(tensor.dims.size()));
    for (auto dim = tensor.dims.rbegin(); dim != tensor.dims.rend(); ++dim) {
      out.put(static_cast<std::uint64_t>(*dim));
    }
    out.put(tensor.type->id);
    out.put(offset);
    offset += padded(bytes_of(tensor), alignment);
  }
  out.pad(alignment);
  return out.bytes();
}

void write_one(const std::string& path, const GgufMetadata& metadata,
               std::span<const GgufTensorToWrite> tensors, const GgufOptions& options) {
  const auto write = [&](sys::AtomicFile& file) {
    file.write(header_of(metadata, tensors, options.alignment));
    const std::string zeros(options.alignment, '\0');
    std::vector<std::byte> buffer;
    for (const GgufTensorToWrite& tensor : tensors) {
      const std::uint64_t row_bytes = std::max<std::uint64_t>(1, tensor.row_bytes());
      const auto step =
          static_cast<std::int64_t>(std::max<std::uint64_t>(1, kChunkBytes / row_bytes));
      for (std::int64_t row = 0; row < tensor.rows(); row += step) {
        const std::int64_t n = std::min(step, tensor.rows() - row);
        buffer.resize(static_cast<std::size_t>(n) * tensor.row_bytes());
        with_context(fmt::format("tensor '{}' from row {}", tensor.name, row),
                     [&] { tensor.fill(row, n, buffer); });
        file.write(buffer);
      }
      const std::uint64_t bytes = bytes_of(tensor);
      file.write(std::string_view(zeros).substr(0, padded(bytes, options.alignment) - bytes));
    }
  };
  sys::write_file_atomically(path, write,
                             options.ops == nullptr ? sys::real_file_ops() : *options.ops);
}

// Ends of the shards, as indices into `tensors`.
std::vector<std::size_t> split(std::span<const GgufTensorToWrite> tensors,
                               const GgufOptions& options) {
  std::vector<std::size_t> ends;
  std::uint64_t in_shard = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::uint64_t bytes = padded(bytes_of(tensors[i]), options.alignment);
    if (options.max_shard_bytes > 0 && in_shard > 0 &&
        bytes > options.max_shard_bytes - std::min(in_shard, options.max_shard_bytes)) {
      ends.push_back(i);
      in_shard = 0;
    }
    in_shard += bytes;
  }
  ends.push_back(tensors.size());
  return ends;
}

}  // namespace

std::int64_t GgufTensorToWrite::rows() const {
  const std::int64_t count = checked_count(dims, std::numeric_limits<std::int64_t>::max() / 64);
  return columns() == 0 ? 0 : count / columns();
}

std::uint64_t GgufTensorToWrite::row_bytes() const {
  return static_cast<std::uint64_t>(columns() / type->block_count * type->block_bytes);
}

GgufTensorToWrite GgufTensorToWrite::floats(std::string name, QuantType type, const Shape& shape,
                                            MatrixView<const float> values) {
  CONCLAVE_CHECK(shape.count() == values.rows * values.cols, "{}: {} from {} x {}", name,
                 shape.str(), values.rows, values.cols);
  GgufTensorToWrite tensor{
      std::move(name), &gguf_type_of(type), {shape.dims().begin(), shape.dims().end()}, {}};
  const std::int64_t columns = tensor.columns();
  if (columns % tensor.type->block_count != 0) {
    fail(ErrorKind::kInvalidArgument,
         "tensor '{}' {}: rows of {} are no whole blocks of {}; store it as F16", tensor.name,
         shape.str(), columns, tensor.type->block_count);
  }
  CONCLAVE_CHECK(values.cols == columns || values.stride == values.cols, "{}: rows of {} for {}",
                 tensor.name, values.cols, shape.str());
  const std::int64_t stride = values.cols == columns ? values.stride : columns;
  const MatrixView<const float> rows(values.data, tensor.rows(), columns, stride);
  tensor.fill = [type, rows](std::int64_t begin, std::int64_t count, std::span<std::byte> out) {
    const std::size_t row_bytes = out.size() / static_cast<std::size_t>(count);
    for (std::int64_t r = 0; r < count; ++r) {
      quantize(type, {rows.row(begin + r), static_cast<std::size_t>(rows.cols)},
               out.subspan(static_cast<std::size_t>(r) * row_bytes, row_bytes));
    }
  };
  return tensor;
}

GgufTensorToWrite GgufTensorToWrite::raw(std::string name, const GgufTypeInfo& type,
                                         std::vector<std::int64_t> dims,
                                         std::span<const std::byte> bytes) {
  GgufTensorToWrite tensor{std::move(name), &type, std::move(dims), {}};
  const std::uint64_t row_bytes = tensor.row_bytes();
  CONCLAVE_CHECK(tensor.columns() % type.block_count == 0 && bytes_of(tensor) == bytes.size(),
                 "{}: {} bytes of {} for {}", tensor.name, bytes.size(), type.name,
                 fmt::join(tensor.dims, ", "));
  tensor.fill = [bytes, row_bytes](std::int64_t begin, std::int64_t, std::span<std::byte> out) {
    std::memcpy(out.data(), bytes.data() + static_cast<std::uint64_t>(begin) * row_bytes,
                out.size());
  };
  return tensor;
}

std::vector<std::string> write_gguf(const std::string& path, const GgufMetadata& metadata,
                                    std::span<const GgufTensorToWrite> tensors,
                                    const GgufOptions& options) {
  CONCLAVE_CHECK(std::has_single_bit(options.alignment), "alignment {}", options.alignment);
  check_tensors(tensors);
  GgufMetadata main = metadata;
  if (options.alignment != 32 || main.has("general.alignment")) {
    main.set("general.alignment", options.alignment);
  }
  const std::vector<std::size_t> ends = split(tensors, options);
  if (ends.size() == 1) {
    write_one(path, main, tensors, options);
    return {path};
  }
  if (ends.size() > 65535) {  // split.count is a u16
    fail(ErrorKind::kInvalidArgument, "{}: {} files; allow larger ones", path, ends.size());
  }
  const std::string prefix = path.ends_with(".gguf") ? path.substr(0, path.size() - 5) : path;
  std::vector<std::string> paths;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    GgufMetadata part = i == 0 ? main : GgufMetadata();
    if (i > 0 && options.alignment != 32) part.set("general.alignment", options.alignment);
    part.set("split.no", static_cast<std::uint16_t>(i));
    part.set("split.count", static_cast<std::uint16_t>(ends.size()));
    part.set("split.tensors.count", static_cast<std::int32_t>(tensors.size()));
    const std::string name = fmt::format("{}-{:05}-of-{:05}.gguf", prefix, i + 1, ends.size());
    try {
      write_one(name, part, tensors.subspan(begin, ends[i] - begin), options);
    } catch (...) {  // some of the files are of no use
      for (const std::string& written : paths) sys::real_file_ops().unlink(written.c_str());
      throw;
    }
    paths.push_back(name);
    begin = ends[i];
  }
  return paths;
}

}  // namespace conclave::io
