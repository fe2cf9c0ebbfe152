// The header of a safetensors file: event parser and the checks of the reference reader.
#include <algorithm>
#include <limits>
#include <optional>

#include "base/error.h"
#include "io/json_sax.h"
#include "io/safetensors.h"

namespace conclave::io {
namespace {

constexpr std::size_t kMaxRank = 64;  // torch has no more either
constexpr std::size_t kMaxNameBytes = 4096;

std::string short_name(const std::string& name) { return name.substr(0, 100); }

// {"__metadata__": {"k": "v"}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
// Depth 1 holds the names, depth 2 the fields of a tensor, depth 3 the numbers. Fields of other
// names are passed over, as the reference does.
class HeaderEvents final : public JsonEvents {
 public:
  explicit HeaderEvents(SafetensorsHeader& header) : header_(header) {}

  bool on_start(bool is_object) override {
    if (depth() == 1) return is_object || refuse("the header is no object");
    if (depth() == 2) {
      if (!is_object) return refuse(fmt::format("'{}' is no object", short_name(name_)));
      seen_dtype_ = seen_shape_ = seen_offsets_ = false;
      return true;
    }
    if (depth() == 3 && !in_metadata_ && (field_ == "shape" || field_ == "data_offsets")) {
      return !is_object || wrong_type();
    }
    return expected_other() || wrong_type();
  }

  bool on_end() override {
    if (depth() == 1 && !in_metadata_) return finish_tensor();
    if (depth() == 2 && !in_metadata_ && field_ == "data_offsets" && n_offsets_ != 2) {
      return refuse(fmt::format("tensor '{}': {} data_offsets, expected begin and end",
                                short_name(name_), n_offsets_));
    }
    return true;
  }

  bool key(std::string& name) override {
    if (depth() == 1) {
      name_ = std::move(name);
      in_metadata_ = name_ == "__metadata__";
      if (in_metadata_) {
        return !std::exchange(seen_metadata_, true) || refuse("__metadata__ occurs twice");
      }
      if (name_.size() > kMaxNameBytes) {
        return refuse(
            fmt::format("a tensor's name has {} bytes, more than {}", name_.size(), kMaxNameBytes));
      }
      tensor_ = TensorInfo();
      return true;
    }
    if (depth() != 2) return true;
    field_ = std::move(name);
    return in_metadata_ || begin_field();
  }

  bool null() override {
    return (depth() == 1 && in_metadata_) || expected_other() || wrong_type();
  }
  bool boolean(bool) override { return expected_other() || wrong_type(); }
  bool number_float(double, const std::string&) override {
    return expected_other() || wrong_type();
  }
  bool number_integer(std::int64_t) override { return expected_other() || wrong_type(); }

  bool number_unsigned(std::uint64_t value) override {
    if (depth() != 3 || in_metadata_) return expected_other() || wrong_type();
    if (field_ == "shape") {
      if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) ||
          tensor_.dims.size() == kMaxRank) {
        return refuse(fmt::format("tensor '{}': shape out of bounds", short_name(name_)));
      }
      tensor_.dims.push_back(static_cast<std::int64_t>(value));
    } else if (field_ == "data_offsets") {
      if (n_offsets_ == 0) tensor_.offset = value;
      if (n_offsets_ == 1) tensor_.bytes = value;  // the end; finish_tensor subtracts
      ++n_offsets_;
    }
    return true;
  }

  bool string(std::string& value) override {
    if (depth() == 2 && in_metadata_) {
      return header_.metadata.try_emplace(std::move(field_), std::move(value)).second ||
             refuse("a key of __metadata__ occurs twice");
    }
    if (depth() != 2 || field_ != "dtype") return expected_other() || wrong_type();
    const auto type = parse_stored_type(value);
    if (!type) {
      return refuse(fmt::format("tensor '{}': unknown element type '{}'", short_name(name_),
                                short_name(value)));
    }
    tensor_.type = *type;
    return true;
  }

 private:
  bool begin_field() {
    bool* const seen = field_ == "dtype"          ? &seen_dtype_
                       : field_ == "shape"        ? &seen_shape_
                       : field_ == "data_offsets" ? &seen_offsets_
                                                  : nullptr;
    n_offsets_ = 0;
    return seen == nullptr || !std::exchange(*seen, true) ||
           refuse(fmt::format("tensor '{}': '{}' occurs twice", short_name(name_), field_));
  }

  // True inside a field that nobody asked for, where any value may stand.
  bool expected_other() const {
    return depth() >= 2 && !in_metadata_ && field_ != "dtype" && field_ != "shape" &&
           field_ != "data_offsets";
  }
  bool wrong_type() {
    return refuse(depth() < 2 ? fmt::format("'{}' is no object", short_name(name_))
                              : fmt::format("'{}': key '{}' has a value of the wrong type",
                                            short_name(name_), short_name(field_)));
  }

  bool finish_tensor() {
    if (!seen_dtype_ || !seen_shape_ || !seen_offsets_) {
      return refuse(
          fmt::format("tensor '{}': dtype, shape or data_offsets is missing", short_name(name_)));
    }
    if (tensor_.bytes < tensor_.offset) {
      return refuse(fmt::format("tensor '{}': ends at {}, before its begin {}", short_name(name_),
                                tensor_.bytes, tensor_.offset));
    }
    tensor_.bytes -= tensor_.offset;
    tensor_.name = std::move(name_);
    header_.tensors.push_back(std::move(tensor_));
    return true;
  }

  SafetensorsHeader& header_;
  TensorInfo tensor_;
  std::string name_;
  std::string field_;
  int n_offsets_ = 0;
  bool in_metadata_ = false;
  bool seen_metadata_ = false;
  bool seen_dtype_ = false;
  bool seen_shape_ = false;
  bool seen_offsets_ = false;
};

// Bytes that shape and type ask for, or nothing where that overflows or is no whole number. Every
// partial product fits int64, so that count() can multiply without a thought.
std::optional<std::uint64_t> bytes_needed(const TensorInfo& tensor) {
  std::int64_t bits = 1;
  for (const std::int64_t dim : tensor.dims) {
    if (__builtin_mul_overflow(bits, dim, &bits)) return std::nullopt;
  }
  if (__builtin_mul_overflow(bits, stored_type_bits(tensor.type), &bits) || bits % 8 != 0) {
    return std::nullopt;
  }
  return static_cast<std::uint64_t>(bits) / 8;
}

}  // namespace

std::int64_t TensorInfo::count() const {
  std::int64_t n = 1;
  for (const std::int64_t dim : dims) n *= dim;
  return n;
}

std::string TensorInfo::shape_str() const { return fmt::format("[{}]", fmt::join(dims, ", ")); }

SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t file_bytes,
                                           const std::string& file_name) {
  SafetensorsHeader header;
  if (!json.starts_with('{')) {
    fail(ErrorKind::kBadFile, "{}: not a safetensors file: its header does not begin with '{{'",
         file_name);
  }
  HeaderEvents events(header);
  parse_json_events(json, file_name, {.max_bytes = kMaxSafetensorsHeader}, events);

  auto& tensors = header.tensors;
  const auto end_of = [](const TensorInfo& t) { return t.offset + t.bytes; };
  std::sort(tensors.begin(), tensors.end(), [&](const TensorInfo& a, const TensorInfo& b) {
    return std::pair(a.offset, end_of(a)) < std::pair(b.offset, end_of(b));
  });
  const std::uint64_t data = 8 + json.size();
  std::uint64_t next = 0;
  for (TensorInfo& tensor : tensors) {
    const auto need = bytes_needed(tensor);
    if (!need || *need != tensor.bytes) {
      fail(ErrorKind::kBadFile, "{}: tensor '{}': {} {} in {} bytes", file_name,
           short_name(tensor.name), stored_type_name(tensor.type), tensor.shape_str(),
           tensor.bytes);
    }
    if (tensor.offset != next) {
      fail(ErrorKind::kBadFile,
           "{}: tensor '{}' begins at byte {} of the data, expected {}: {} before it", file_name,
           short_name(tensor.name), tensor.offset, next,
           tensor.offset < next ? "an overlap" : "a hole");
    }
    next = end_of(tensor);
    tensor.offset += data;
  }
  if (file_bytes < data || file_bytes - data != next) {
    fail(ErrorKind::kBadFile,
         "{}: its tensors need {} bytes of data, but the file of {} bytes has a header of {}: it "
         "was "
         "cut or is damaged",
         file_name, next, file_bytes, data);
  }
  std::sort(tensors.begin(), tensors.end(),
            [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
  const auto twice =
      std::adjacent_find(tensors.begin(), tensors.end(),
                         [](const TensorInfo& a, const TensorInfo& b) { return a.name == b.name; });
  if (twice != tensors.end()) {
    fail(ErrorKind::kBadFile, "{}: tensor '{}' occurs twice", file_name, short_name(twice->name));
  }
  return header;
}

}  // namespace conclave::io
