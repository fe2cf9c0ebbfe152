// Reading tensors of gguf.h.
#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "io/gguf.h"
#include "io/nearest_name.h"

namespace conclave::io {
namespace {

constexpr std::int64_t kChunkElements = 256 << 10;  // 1 MiB of f32: stays in the second-level cache

// "NAME-00002-of-00005.gguf" without its number, or nothing.
struct SplitName {
  std::string prefix;
  int count = 0;
};
std::optional<SplitName> parse_split_name(std::string_view path) {
  constexpr std::string_view kForm = "-00000-of-00000.gguf";
  if (path.size() <= kForm.size()) return std::nullopt;
  const std::string_view tail = path.substr(path.size() - kForm.size());
  for (std::size_t i = 0; i < kForm.size(); ++i) {
    const bool digit = tail[i] >= '0' && tail[i] <= '9';
    if (kForm[i] == '0' ? !digit : tail[i] != kForm[i]) return std::nullopt;
  }
  SplitName name{std::string(path.substr(0, path.size() - kForm.size()))};
  std::from_chars(tail.data() + 10, tail.data() + 15, name.count);
  return name;
}

}  // namespace

std::int64_t GgufTensor::count() const {
  std::int64_t n = 1;
  for (const std::int64_t dim : dims) n *= dim;
  return n;
}

std::string GgufTensor::shape_str() const { return fmt::format("[{}]", fmt::join(dims, ", ")); }

GgufSource::GgufSource(const std::string& path) : path_(path) {
  files_.emplace_back(path);
  BoundedReader reader(files_.back());
  GgufHeader header = parse_gguf(reader);
  if (header.metadata.integer("split.count", 0, 65535, 1) > 1) {
    open_splits(header);
  } else {
    metadata_ = header.metadata;
    add(std::move(header));
  }
  std::sort(tensors_.begin(), tensors_.end(),
            [](const GgufTensor& a, const GgufTensor& b) { return a.name < b.name; });
  for (std::size_t i = 1; i < tensors_.size(); ++i) {
    if (tensors_[i].name == tensors_[i - 1].name) {
      fail(ErrorKind::kBadFile, "{} is also in {}", describe(tensors_[i]),
           files_[static_cast<std::size_t>(tensors_[i - 1].file)].path());
    }
  }
}

void GgufSource::add(GgufHeader header) {
  for (GgufTensor& tensor : header.tensors) {
    tensor.file = static_cast<int>(files_.size()) - 1;
    tensors_.push_back(std::move(tensor));
  }
}

// The files that belong together, from the first on, whichever was named.
void GgufSource::open_splits(const GgufHeader& first) {
  const std::int64_t count = first.metadata.integer("split.count", 2, 65535);
  const auto name = parse_split_name(path_);
  if (!name || name->count != count) {
    fail(ErrorKind::kBadFile,
         "{}: is one of {} files of a split model, whose names must end in "
         "-00001-of-{:05}.gguf and so on",
         path_, count, count);
  }
  files_.clear();
  std::int64_t n_tensors = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    files_.emplace_back(fmt::format("{}-{:05}-of-{:05}.gguf", name->prefix, i + 1, count));
    BoundedReader reader(files_.back());
    GgufHeader header = parse_gguf(reader);
    header.metadata.integer("split.count", count, count);
    header.metadata.integer("split.no", i, i);
    if (i == 0) {
      metadata_ = header.metadata;
      n_tensors = header.metadata.integer("split.tensors.count", 0, 1 << 30, -1);
    }
    add(std::move(header));
  }
  if (n_tensors >= 0 && n_tensors != static_cast<std::int64_t>(tensors_.size())) {
    metadata_.fail_at("split.tensors.count", fmt::format("found {}, but the {} files hold {}",
                                                         n_tensors, count, tensors_.size()));
  }
}

const GgufTensor* GgufSource::find(std::string_view name) const {
  const auto place =
      std::lower_bound(tensors_.begin(), tensors_.end(), name,
                       [](const GgufTensor& t, std::string_view n) { return t.name < n; });
  return place == tensors_.end() || place->name != name ? nullptr : &*place;
}

const GgufTensor& GgufSource::get(std::string_view name) const {
  const GgufTensor* const tensor = find(name);
  if (tensor == nullptr) {
    std::vector<std::string> names;
    for (const GgufTensor& known : tensors_) names.push_back(known.name);
    fail(ErrorKind::kNotFound, "{}: tensor '{}' is missing{}", path_, name,
         did_you_mean(name, names));
  }
  return *tensor;
}

std::string GgufSource::describe(const GgufTensor& tensor) const {
  return fmt::format("{}: tensor '{}'", files_[static_cast<std::size_t>(tensor.file)].path(),
                     tensor.name);
}

void GgufSource::read_bytes(const GgufTensor& tensor, std::uint64_t offset,
                            std::span<std::byte> out) const {
  CONCLAVE_CHECK(offset <= tensor.bytes && out.size() <= tensor.bytes - offset,
                 "bytes {} + {} of a tensor of {}", offset, out.size(), tensor.bytes);
  files_[static_cast<std::size_t>(tensor.file)].read(tensor.offset + offset, out);
}

void GgufSource::read_f32(std::string_view name, const Shape& expected,
                          std::span<float> out) const {
  CONCLAVE_CHECK(static_cast<std::int64_t>(out.size()) == expected.count(), "{} for {}", out.size(),
                 expected.str());
  read_f32(name, expected, MatrixView<float>(out.data(), 1, static_cast<std::int64_t>(out.size())));
}

void GgufSource::read_f32(std::string_view name, const Shape& expected,
                          MatrixView<float> out) const {
  const GgufTensor& tensor = get(name);
  if (!std::ranges::equal(tensor.dims, expected.dims())) {
    fail(ErrorKind::kBadFile, "{} has the shape {}, expected {}", describe(tensor),
         tensor.shape_str(), expected.str());
  }
  read_f32_rows(tensor, 0, out);
}

void GgufSource::read_f32_rows(const GgufTensor& tensor, std::int64_t begin,
                               MatrixView<float> out) const {
  if (!tensor.type->quant) {
    fail(ErrorKind::kUnsupported, "{} is of type {}, which cannot be decoded", describe(tensor),
         tensor.type->name);
  }
  const QuantType type = *tensor.type->quant;
  CONCLAVE_CHECK(begin >= 0 && out.rows >= 0 && out.cols >= 0 &&
                     (out.cols == 0 || begin + out.rows <= tensor.count() / out.cols) &&
                     out.cols % tensor.type->block_count == 0,
                 "rows {} + {} of {} columns in {}", begin, out.rows, out.cols, tensor.shape_str());
  if (out.rows == 0 || out.cols == 0) return;
  const bool whole = out.stride == out.cols;
  const std::int64_t run = whole ? out.rows * out.cols : out.cols;
  const std::int64_t runs = whole ? 1 : out.rows;
  std::int64_t element = begin * out.cols;
  std::vector<std::byte> buffer;
  for (std::int64_t r = 0; r < runs; ++r) {
    for (std::int64_t at = 0; at < run;) {
      const std::int64_t n = std::min(run - at, kChunkElements);
      buffer.resize(static_cast<std::size_t>(quant_bytes(type, n)));
      read_bytes(tensor, static_cast<std::uint64_t>(quant_bytes(type, element)), buffer);
      dequantize(type, buffer.data(), n, out.row(r) + at);
      at += n;
      element += n;
    }
  }
}

}  // namespace conclave::io
