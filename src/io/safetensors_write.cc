// Writing half of safetensors.h.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <set>
#include <system_error>

#include "base/error.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace conclave::io {
namespace {

constexpr std::size_t kChunkBytes = 1 << 20;
constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

sys::FileOps& ops_of(const SafetensorsOptions& options) {
  return options.ops == nullptr ? sys::real_file_ops() : *options.ops;
}

using Order = std::vector<const TensorToWrite*>;

// By falling element size, then name: every tensor is aligned to its element, as views on a mapped
// file need.
Order file_order(const Order& tensors) {
  Order order = tensors;
  std::sort(order.begin(), order.end(), [](const TensorToWrite* a, const TensorToWrite* b) {
    const int bits_a = stored_type_bits(a->type);
    const int bits_b = stored_type_bits(b->type);
    return bits_a != bits_b ? bits_a > bits_b : a->name < b->name;
  });
  return order;
}

void check_names(std::span<const TensorToWrite> tensors) {
  std::set<std::string_view> names;
  for (const TensorToWrite& tensor : tensors) {
    if (!names.insert(tensor.name).second || tensor.name == "__metadata__") {
      fail(ErrorKind::kInvalidArgument, "tensor '{}' is to be written twice or is no tensor's name",
           tensor.name);
    }
  }
}

std::string header_json(const Order& order, const std::map<std::string, std::string>& extra) {
  std::map<std::string, std::string> metadata = extra;
  metadata["format"] = "pt";
  std::vector<std::string> parts;
  for (const auto& [key, value] : metadata) {
    parts.push_back(json_quote(key) + ":" + json_quote(value));
  }
  std::string json = fmt::format("{{\"__metadata__\":{{{}}}", fmt::join(parts, ","));
  std::uint64_t begin = 0;
  for (const TensorToWrite* tensor : order) {
    const std::uint64_t end = begin + tensor->bytes();
    json += fmt::format(",{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                        json_quote(tensor->name), stored_type_name(tensor->type),
                        fmt::join(tensor->dims, ","), begin, end);
    begin = end;
  }
  json += '}';
  json.resize((json.size() + 7) / 8 * 8, ' ');  // the data begins at a multiple of 8
  return json;
}

void write_file(const std::string& path, const Order& tensors, const SafetensorsOptions& options) {
  const Order order = file_order(tensors);
  const std::string header = header_json(order, options.metadata);
  if (header.size() > kMaxSafetensorsHeader) {
    fail(ErrorKind::kInvalidArgument, "{}: a header of {} bytes, more than safetensors allows",
         path, header.size());
  }
  const auto write = [&](sys::AtomicFile& file) {
    const std::uint64_t length = header.size();
    file.write(std::as_bytes(std::span(&length, 1)));
    file.write(header);
    std::vector<std::byte> buffer;
    for (const TensorToWrite* tensor : order) {
      const std::uint64_t bytes = tensor->bytes();
      for (std::uint64_t at = 0; at < bytes; at += buffer.size()) {
        buffer.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kChunkBytes, bytes - at)));
        tensor->fill(at, buffer);
        file.write(buffer);
      }
    }
  };
  sys::write_file_atomically(path, write, ops_of(options));
}

// model.safetensors, its index, and model-00001-of-00002.safetensors.
bool is_weight_file(std::string_view name) {
  if (name == kSingle || name == kIndex) return true;
  const auto take = [&name](std::string_view part) {
    if (!name.starts_with(part)) return false;
    name.remove_prefix(part.size());
    return true;
  };
  const auto take_number = [&name] {
    const std::size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
    name.remove_prefix(digits);
    return digits == 5;
  };
  return take("model-") && take_number() && take("-of-") && take_number() && name == ".safetensors";
}

}  // namespace

TensorToWrite TensorToWrite::floats(std::string name, StoredType type, const Shape& shape,
                                    MatrixView<const float> values) {
  CONCLAVE_CHECK(shape.count() == values.rows * values.cols, "{}: {} from {} x {}", name,
                 shape.str(), values.rows, values.cols);
  const auto width = static_cast<std::uint64_t>(stored_type_bits(type)) / 8;
  auto fill = [type, width, values](std::uint64_t offset, std::span<std::byte> out) {
    auto element = static_cast<std::int64_t>(offset / width);
    while (!out.empty()) {
      const std::int64_t row = element / values.cols;
      const std::int64_t col = element % values.cols;
      const auto n = std::min(static_cast<std::size_t>(values.cols - col), out.size() / width);
      convert_from_f32(type, {values.row(row) + col, n}, out.first(n * width));
      element += static_cast<std::int64_t>(n);
      out = out.subspan(n * width);
    }
  };
  return {std::move(name), type, {shape.dims().begin(), shape.dims().end()}, std::move(fill)};
}

TensorToWrite TensorToWrite::raw(std::string name, StoredType type, std::vector<std::int64_t> dims,
                                 std::span<const std::byte> bytes) {
  auto fill = [bytes](std::uint64_t offset, std::span<std::byte> out) {
    std::memcpy(out.data(), bytes.data() + offset, out.size());
  };
  TensorToWrite tensor{std::move(name), type, std::move(dims), std::move(fill)};
  CONCLAVE_CHECK(tensor.bytes() == bytes.size(), "{}: {} bytes for {}", tensor.name, bytes.size(),
                 tensor.bytes());
  return tensor;
}

std::uint64_t TensorToWrite::bytes() const {
  const std::int64_t bits =
      checked_count(dims, std::numeric_limits<std::int64_t>::max() / 64) * stored_type_bits(type);
  CONCLAVE_CHECK(bits % 8 == 0, "{}: {} bits", name, bits);
  return static_cast<std::uint64_t>(bits / 8);
}

void write_safetensors(const std::string& path, std::span<const TensorToWrite> tensors,
                       const SafetensorsOptions& options) {
  check_names(tensors);
  Order order;
  for (const TensorToWrite& tensor : tensors) order.push_back(&tensor);
  write_file(path, order, options);
}

void write_model_safetensors(const std::string& directory, std::span<const TensorToWrite> tensors,
                             std::uint64_t max_shard_bytes, const SafetensorsOptions& options) {
  check_names(tensors);
  std::vector<Order> shards(1);
  std::uint64_t in_shard = 0;
  std::uint64_t total = 0;
  for (const TensorToWrite& tensor : tensors) {
    const std::uint64_t bytes = tensor.bytes();
    if (!shards.back().empty() && bytes > max_shard_bytes - std::min(in_shard, max_shard_bytes)) {
      shards.emplace_back();
      in_shard = 0;
    }
    shards.back().push_back(&tensor);
    in_shard += bytes;
    total += bytes;
  }

  std::set<std::string> written;
  std::map<std::string, std::string> weight_map;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name =
        shards.size() == 1 ? std::string(kSingle)
                           : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    write_file(sys::join_path(directory, name), shards[i], options);
    written.insert(name);
    for (const TensorToWrite* tensor : shards[i]) weight_map[tensor->name] = name;
  }
  if (shards.size() > 1) {
    std::string index = fmt::format(
        "{{\n  \"metadata\": {{\n    \"total_size\": {}\n  }},\n  \"weight_map\": {{", total);
    const char* separator = "\n";
    for (const auto& [tensor, file] : weight_map) {
      index += fmt::format("{}    {}: \"{}\"", separator, json_quote(tensor), file);
      separator = ",\n";
    }
    index += "\n  }\n}\n";
    sys::write_file_atomically(sys::join_path(directory, kIndex), index, ops_of(options));
    written.insert(kIndex);
  }
  // A reader prefers model.safetensors to an index, so what an earlier save left must not stay.
  for (const std::string& name : sys::list_directory(directory)) {
    if (!is_weight_file(name) || written.contains(name)) continue;
    const std::string stale = sys::join_path(directory, name);
    if (ops_of(options).unlink(stale.c_str()) != 0 && errno != ENOENT) {
      fail(ErrorKind::kIo, "{}: cannot remove this file of an earlier save: {}", stale,
           std::system_category().message(errno));
    }
  }
}

}  // namespace conclave::io
