// The parser of gguf.h. Limits are those of the bytes that are left; where an entry costs more in
// memory than in the file, its number is limited too.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <set>

#include "base/error.h"
#include "io/gguf.h"

namespace conclave::io {
namespace {

constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr std::uint64_t kMaxEntries = 65536;
constexpr std::uint64_t kMaxTensors = 262144;
constexpr std::uint64_t kMaxKey = 65535;
constexpr std::uint64_t kMaxTensorName = 1024;  // ggml itself stops at 63
constexpr std::uint64_t kMaxNested = 4096;
constexpr int kMaxArrayDepth = 3;
constexpr std::uint32_t kMaxDims = 4;
constexpr std::uint32_t kMaxAlignment = 1 << 20;

// Bytes of an item by GgufKind; the least for a string, an array.
constexpr std::array<std::uint64_t, 13> kItemBytes = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

}  // namespace

class GgufParser {
 public:
  explicit GgufParser(BoundedReader& reader) : reader_(reader) {}

  GgufHeader parse() {
    header_.metadata = GgufMetadata(reader_.name());
    read_preamble();
    for (std::uint64_t i = 0; i < n_entries_; ++i) read_entry();
    read_alignment();
    for (std::uint64_t i = 0; i < n_tensors_; ++i) read_tensor();
    place_tensors();
    return std::move(header_);
  }

 private:
  void read_preamble() {
    if (reader_.size() < 4 || reader_.u32("magic") != kMagic) {
      fail(ErrorKind::kBadFile, "{}: not a GGUF file: it does not begin with 'GGUF'",
           reader_.name());
    }
    header_.version = reader_.u32("version");
    if (header_.version != 2 && header_.version != 3) {
      const bool big_endian = header_.version != 0 && (header_.version & 0xffff) == 0;
      fail(ErrorKind::kUnsupported, "{}: {}, expected GGUF version 2 or 3, little endian",
           reader_.name(),
           big_endian ? "a big-endian file" : fmt::format("version {}", header_.version));
    }
    n_tensors_ = reader_.u64("number of tensors");
    n_entries_ = reader_.u64("number of keys");
    limit(n_tensors_, kMaxTensors, "tensors");
    limit(n_entries_, kMaxEntries, "keys");
    reader_.expect_room(n_entries_, 13, "keys");
    reader_.expect_room(n_tensors_, 24, "tensors");
  }

  void limit(std::uint64_t count, std::uint64_t most, const char* what) const {
    if (count > most) {
      reader_.fail_here(fmt::format("{} {}, more than the {} allowed", count, what, most));
    }
  }

  std::string read_text(std::uint64_t most, const char* what) {
    const std::uint64_t bytes = reader_.u64(what);
    return reader_.text(bytes, most, what);
  }

  GgufKind read_kind() {
    const std::uint32_t kind = reader_.u32("kind of value");
    if (kind > static_cast<std::uint32_t>(GgufKind::kF64)) {
      reader_.fail_here(fmt::format("unknown kind of value {}", kind));
    }
    return static_cast<GgufKind>(kind);
  }

  void read_entry() {
    std::string key = read_text(kMaxKey, "key");
    if (!keys_.insert(key).second) {
      reader_.fail_here(fmt::format("key '{}' occurs twice", key.substr(0, 100)));
    }
    const GgufKind kind = read_kind();
    GgufValue value;
    try {
      value = read_value(kind);
    } catch (const Error& error) {
      fail(error.kind(), "{} (in key '{}')", error.message(), key.substr(0, 100));
    }
    header_.metadata.entries_.emplace_back(std::move(key), std::move(value));
  }

  GgufValue read_value(GgufKind kind) {
    switch (kind) {
      case GgufKind::kU8:
        return reader_.number<std::uint8_t>("value");
      case GgufKind::kI8:
        return reader_.number<std::int8_t>("value");
      case GgufKind::kU16:
        return reader_.number<std::uint16_t>("value");
      case GgufKind::kI16:
        return reader_.number<std::int16_t>("value");
      case GgufKind::kU32:
        return reader_.number<std::uint32_t>("value");
      case GgufKind::kI32:
        return reader_.number<std::int32_t>("value");
      case GgufKind::kF32:
        return reader_.number<float>("value");
      case GgufKind::kBool:
        return read_bool();
      case GgufKind::kString:
        return read_text(std::numeric_limits<std::uint64_t>::max(), "string");
      case GgufKind::kArray:
        return read_array(1);
      case GgufKind::kU64:
        return reader_.number<std::uint64_t>("value");
      case GgufKind::kI64:
        return reader_.number<std::int64_t>("value");
      case GgufKind::kF64:
        return reader_.number<double>("value");
    }
    reader_.fail_here("unknown kind of value");
  }

  bool read_bool() {
    const std::uint8_t value = reader_.u8("boolean");
    if (value > 1) reader_.fail_here(fmt::format("a boolean is {}, expected 0 or 1", value));
    return value == 1;
  }

  GgufArray read_array(int depth) {
    GgufArray array;
    array.item = read_kind();
    const std::uint64_t count = reader_.u64("length of array");
    reader_.expect_room(count, kItemBytes[static_cast<std::size_t>(array.item)], "array");
    if (array.item == GgufKind::kString) {
      array.strings.reserve(static_cast<std::size_t>(count));
      for (std::uint64_t i = 0; i < count; ++i) {
        array.strings.push_back(read_text(std::numeric_limits<std::uint64_t>::max(), "string"));
      }
    } else if (array.item == GgufKind::kArray) {
      if (depth == kMaxArrayDepth) {
        reader_.fail_here(fmt::format("arrays nested deeper than {}", kMaxArrayDepth));
      }
      limit(count + nested_, kMaxNested, "arrays in arrays");
      nested_ += count;
      for (std::uint64_t i = 0; i < count; ++i) array.arrays.push_back(read_array(depth + 1));
    } else {
      array.numbers.resize(
          static_cast<std::size_t>(count * kItemBytes[static_cast<std::size_t>(array.item)]));
      reader_.read(array.numbers, "array");
    }
    return array;
  }

  void read_alignment() {
    const GgufValue* const value = header_.metadata.find("general.alignment");
    if (value == nullptr) return;
    const std::uint32_t* const alignment = std::get_if<std::uint32_t>(value);
    if (alignment == nullptr || !std::has_single_bit(*alignment) || *alignment > kMaxAlignment) {
      header_.metadata.fail_at("general.alignment", "expected a power of two as u32");
    }
    header_.alignment = *alignment;
  }

  void read_tensor() {
    GgufTensor tensor;
    tensor.name = read_text(kMaxTensorName, "name of tensor");
    const std::uint32_t n_dims = reader_.u32("number of dimensions");
    const auto refuse = [&](const std::string& message) {
      reader_.fail_here(fmt::format("tensor '{}': {}", tensor.name, message));
    };
    if (n_dims > kMaxDims) refuse(fmt::format("{} dimensions, at most {}", n_dims, kMaxDims));
    for (std::uint32_t i = 0; i < n_dims; ++i) {
      const std::uint64_t dim = reader_.u64("dimension");
      if (dim > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        refuse(fmt::format("a dimension of {}", dim));
      }
      tensor.dims.insert(tensor.dims.begin(), static_cast<std::int64_t>(dim));
    }
    const std::uint32_t id = reader_.u32("type of tensor");
    tensor.type = find_gguf_type(id);
    if (tensor.type == nullptr) {
      fail(ErrorKind::kUnsupported, "{}: tensor '{}' has the unknown type number {}",
           reader_.name(), tensor.name, id);
    }
    const std::int64_t columns = tensor.dims.empty() ? 1 : tensor.dims.back();
    if (columns % tensor.type->block_count != 0) {
      refuse(fmt::format("rows of {} are no whole blocks of {} of {}", columns,
                         tensor.type->block_count, tensor.type->name));
    }
    std::int64_t count = 1;
    for (const std::int64_t dim : tensor.dims) {
      if (__builtin_mul_overflow(count, dim, &count)) refuse("its size overflows");
    }
    std::int64_t bytes;
    if (__builtin_mul_overflow(count / tensor.type->block_count,
                               static_cast<std::int64_t>(tensor.type->block_bytes), &bytes)) {
      refuse("its size overflows");
    }
    tensor.bytes = static_cast<std::uint64_t>(bytes);
    tensor.offset = reader_.u64("offset of tensor");
    if (tensor.offset % header_.alignment != 0) {
      refuse(fmt::format("offset {} is no multiple of the alignment {}", tensor.offset,
                         header_.alignment));
    }
    header_.tensors.push_back(std::move(tensor));
  }

  // Offsets count from the first aligned byte after the list; tensors lie within the file, apart.
  void place_tensors() {
    auto& tensors = header_.tensors;
    if (tensors.empty()) return;
    reader_.align(header_.alignment, "data of tensors");
    const std::uint64_t data = reader_.offset();
    const std::uint64_t room = reader_.remaining();
    std::sort(tensors.begin(), tensors.end(), [](const GgufTensor& a, const GgufTensor& b) {
      return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
    });
    std::uint64_t end = 0;
    for (GgufTensor& tensor : tensors) {
      if (tensor.offset > room || tensor.bytes > room - tensor.offset) {
        fail(ErrorKind::kBadFile,
             "{}: tensor '{}' takes {} bytes from {} of the data, which has {}: the file was cut",
             reader_.name(), tensor.name, tensor.bytes, tensor.offset, room);
      }
      if (tensor.offset < end) {
        fail(ErrorKind::kBadFile, "{}: tensor '{}' overlaps the one before it", reader_.name(),
             tensor.name);
      }
      end = tensor.offset + tensor.bytes;
      tensor.offset += data;
    }
    std::sort(tensors.begin(), tensors.end(),
              [](const GgufTensor& a, const GgufTensor& b) { return a.name < b.name; });
    const auto twice = std::adjacent_find(
        tensors.begin(), tensors.end(),
        [](const GgufTensor& a, const GgufTensor& b) { return a.name == b.name; });
    if (twice != tensors.end()) {
      fail(ErrorKind::kBadFile, "{}: tensor '{}' occurs twice", reader_.name(), twice->name);
    }
  }

  BoundedReader& reader_;
  GgufHeader header_;
  std::set<std::string> keys_;
  std::uint64_t n_tensors_ = 0;
  std::uint64_t n_entries_ = 0;
  std::uint64_t nested_ = 0;  // arrays within arrays, in all
};

GgufHeader parse_gguf(BoundedReader& reader) { return GgufParser(reader).parse(); }

}  // namespace conclave::io
