// TrainingState of checkpoint.h: a safetensors file whose __metadata__ holds the values, a checksum
// for each array ("checksums") and one for everything else ("checksum").
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/checkpoint.h"
#include "io/checksum.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace conclave::io {
namespace {

constexpr const char* kArrays = "checksums";
constexpr const char* kHeader = "checksum";

bool is_reserved(const std::string& key) {
  return key == kArrays || key == kHeader || key == "format";
}

std::string describe_array(const std::string& name, StoredType type,
                           std::span<const std::int64_t> dims) {
  return fmt::format("{} {} [{}]\n", json_quote(name), stored_type_name(type),
                     fmt::join(dims, ","));
}

std::string header_checksum(const std::map<std::string, std::string>& values,
                            const std::string& arrays, const std::string& array_checksums) {
  std::string text;
  for (const auto& [key, value] : values) text += json_quote(key) + json_quote(value) + "\n";
  text += arrays + array_checksums;
  return checksum(std::as_bytes(std::span(text)));
}

}  // namespace

void TrainingState::set_integer(const std::string& key, std::int64_t value) {
  set(key, std::to_string(value));
}

void TrainingState::add(const std::string& name, DType type, const Shape& shape,
                        std::span<const std::byte> bytes) {
  CONCLAVE_CHECK(bytes.size() == static_cast<std::size_t>(shape.count()) * dtype_size(type),
                 "{}: {} bytes for {}", name, bytes.size(), shape.str());
  arrays_[name] = {type, shape, bytes};
}

void TrainingState::save(const std::string& path, sys::FileOps& ops) const {
  std::vector<TensorToWrite> tensors;
  nlohmann::json sums = nlohmann::json::object();
  std::string arrays;
  for (const auto& [name, entry] : arrays_) {
    const auto dims = entry.shape.dims();
    const StoredType type = stored_type_of(entry.type);
    tensors.push_back(TensorToWrite::raw(name, type, {dims.begin(), dims.end()}, entry.bytes));
    sums[name] = checksum(entry.bytes);
    arrays += describe_array(name, type, dims);
  }
  for (const auto& [key, value] : values_) CONCLAVE_CHECK(!is_reserved(key), "key '{}'", key);
  SafetensorsOptions options{.metadata = values_, .ops = &ops};
  options.metadata[kArrays] = sums.dump();
  options.metadata[kHeader] = header_checksum(values_, arrays, sums.dump());
  write_safetensors(path, tensors, options);
}

struct TrainingStateReader::Impl {
  TensorSource source;
  nlohmann::json checksums;
};

TrainingStateReader::TrainingStateReader(const std::string& path)
    : impl_(new Impl{TensorSource(path), nullptr}) {
  std::map<std::string, std::string> all = impl_->source.metadata();
  for (const char* key : {kArrays, kHeader}) {
    if (!all.contains(key)) {
      fail(ErrorKind::kBadFile, "{}: no '{}' in its metadata: not a saved training state", path,
           key);
    }
  }
  for (const auto& [key, value] : all) {
    if (!is_reserved(key)) values_[key] = value;
  }
  std::string arrays;
  for (const TensorInfo& info : impl_->source.tensors()) {
    arrays += describe_array(info.name, info.type, info.dims);
  }
  if (header_checksum(values_, arrays, all[kArrays]) != all[kHeader]) {
    fail(ErrorKind::kBadFile, "{}: is damaged: its header does not match its checksum", path);
  }
  impl_->checksums = parse_json(all[kArrays], path, {.max_bytes = kMaxSafetensorsHeader});
}

TrainingStateReader::~TrainingStateReader() = default;

const std::string& TrainingStateReader::value(const std::string& key) const {
  const auto place = values_.find(key);
  if (place == values_.end()) {
    fail(ErrorKind::kBadFile, "{}: no '{}' in the training state", impl_->source.path(), key);
  }
  return place->second;
}

std::int64_t TrainingStateReader::integer(const std::string& key) const {
  const std::string& text = value(key);
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) {
    fail(ErrorKind::kBadFile, "{}: '{}' of the training state is '{}', expected an integer",
         impl_->source.path(), key, text.substr(0, 60));
  }
  return number;
}

std::vector<std::string> TrainingStateReader::array_names() const { return impl_->source.names(); }

void TrainingStateReader::read(const std::string& name, DType type, const Shape& shape,
                               std::span<std::byte> out) const {
  const TensorInfo& info = impl_->source.get(name);
  if (info.type != stored_type_of(type) || !std::ranges::equal(info.dims, shape.dims())) {
    fail(ErrorKind::kBadFile, "{} is {} {}, expected {} {}", impl_->source.describe(info),
         stored_type_name(info.type), info.shape_str(), stored_type_name(stored_type_of(type)),
         shape.str());
  }
  CONCLAVE_CHECK(out.size() == info.bytes, "{}: {} bytes for {}", name, out.size(), info.bytes);
  impl_->source.read_bytes(info, 0, out);
  const std::string saved = JsonView(impl_->checksums, impl_->source.path()).string(name);
  if (checksum(out) != saved) {
    fail(ErrorKind::kBadFile, "{} is damaged: its checksum is not the one that was saved",
         impl_->source.describe(info));
  }
}

}  // namespace conclave::io
