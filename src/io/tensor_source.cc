// Reading half of safetensors.h.
#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "io/bounded_reader.h"
#include "io/json_sax.h"
#include "io/nearest_name.h"
#include "io/safetensors.h"

namespace conclave::io {
namespace {

constexpr std::uint64_t kMaxIndexBytes = 100'000'000;
constexpr std::size_t kChunkElements = 256 << 10;  // 1 MiB of f32: stays in the second-level cache

// {"metadata": {...}, "weight_map": {"tensor": "file"}}: keeps the map only.
class IndexEvents final : public JsonEvents {
 public:
  std::map<std::string, std::string> weight_map;
  bool seen_map = false;

  bool on_start(bool is_object) override {
    if (depth() == 1) return is_object || refuse("the index is no object");
    if (depth() == 2 && in_map_) return is_object || refuse("weight_map is no object");
    return value();
  }
  bool on_end() override { return true; }
  bool key(std::string& name) override {
    if (depth() == 1) {
      in_map_ = name == "weight_map";
      if (in_map_ && std::exchange(seen_map, true)) return refuse("weight_map occurs twice");
    } else if (depth() == 2) {
      tensor_ = std::move(name);
    }
    return true;
  }
  bool null() override { return value(); }
  bool boolean(bool) override { return value(); }
  bool number_integer(std::int64_t) override { return value(); }
  bool number_unsigned(std::uint64_t) override { return value(); }
  bool number_float(double, const std::string&) override { return value(); }
  bool string(std::string& file) override {
    if (!in_map_ || depth() != 2) return value();
    return weight_map.try_emplace(tensor_, std::move(file)).second ||
           refuse(fmt::format("weight_map: '{}' occurs twice", tensor_.substr(0, 100)));
  }

 private:
  // A value that is no file name.
  bool value() { return (depth() > 0 && !in_map_) || refuse("weight_map holds more than names"); }

  std::string tensor_;
  bool in_map_ = false;
};

// A file of the model directory itself: nothing that leads elsewhere. (The file may be a link; the
// download cache of the hub is made of links.)
void check_shard_name(const std::string& index_path, const std::string& name) {
  const bool plain = name.ends_with(".safetensors") && name.size() <= 255 && name[0] != '.' &&
                     std::all_of(name.begin(), name.end(), [](unsigned char c) {
                       return c >= 0x20 && c != 0x7f && c != '/' && c != '\\' && c != ':';
                     });
  if (!plain) {
    fail(ErrorKind::kBadFile,
         "{}: weight_map names {}, expected the plain name of a .safetensors file in the same "
         "directory",
         index_path, json_quote(name.substr(0, 100)));
  }
}

SafetensorsHeader read_header(const sys::File& file) {
  BoundedReader reader(file);
  const std::uint64_t length = reader.u64("header length");
  const std::string json = reader.text(length, kMaxSafetensorsHeader, "header");
  return parse_safetensors_header(json, file.size(), file.path());
}

}  // namespace

TensorSource::TensorSource(const std::string& path) : path_(path) {
  if (!sys::directory_exists(path)) {
    add_file(path, nullptr);
    return;
  }
  const std::string single = sys::join_path(path, "model.safetensors");
  const std::string index = single + ".index.json";
  if (sys::file_exists(single)) {
    add_file(single, nullptr);
  } else if (sys::file_exists(index)) {
    open_index(path, index);
  } else {
    fail(ErrorKind::kNotFound,
         "{}: neither model.safetensors nor model.safetensors.index.json is there; weights of "
         "another format (.bin, .pth) must be converted first",
         path);
  }
}

void TensorSource::add_file(const std::string& path,
                            const std::map<std::string, std::string>* weight_map) {
  files_.emplace_back(path);
  SafetensorsHeader header = read_header(files_.back());
  const std::string name = sys::base_name(path);
  for (TensorInfo& tensor : header.tensors) {
    if (weight_map != nullptr) {
      const auto place = weight_map->find(tensor.name);
      if (place == weight_map->end() || place->second != name) {
        unexpected_.push_back(fmt::format(
            "{}: tensor '{}' is not listed in the index for this file", path, tensor.name));
        continue;
      }
    }
    tensor.file = static_cast<int>(files_.size()) - 1;
    tensors_.push_back(std::move(tensor));
  }
  metadata_.merge(header.metadata);
}

void TensorSource::open_index(const std::string& directory, const std::string& index_path) {
  IndexEvents events;
  parse_json_events(sys::read_file(index_path, kMaxIndexBytes), index_path,
                    {.max_bytes = kMaxIndexBytes}, events);
  if (!events.seen_map) fail(ErrorKind::kBadFile, "{}: key 'weight_map' is missing", index_path);

  std::vector<std::string> shards;
  for (const auto& [tensor, shard] : events.weight_map) shards.push_back(shard);
  std::sort(shards.begin(), shards.end());
  shards.erase(std::unique(shards.begin(), shards.end()), shards.end());
  for (const std::string& shard : shards) check_shard_name(index_path, shard);
  for (const std::string& shard : shards) {
    const std::string path = sys::join_path(directory, shard);
    with_context(index_path, [&] { add_file(path, &events.weight_map); });
  }
  std::sort(tensors_.begin(), tensors_.end(),
            [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
  for (const auto& [tensor, shard] : events.weight_map) {
    if (find(tensor) == nullptr) {
      fail(ErrorKind::kBadFile, "{}: tensor '{}' is not in {}, where weight_map puts it",
           index_path, tensor.substr(0, 200), shard);
    }
  }
}

std::vector<std::string> TensorSource::names() const {
  std::vector<std::string> names;
  for (const TensorInfo& tensor : tensors_) names.push_back(tensor.name);
  return names;
}

const TensorInfo* TensorSource::find(std::string_view name) const {
  const auto place =
      std::lower_bound(tensors_.begin(), tensors_.end(), name,
                       [](const TensorInfo& t, std::string_view n) { return t.name < n; });
  return place == tensors_.end() || place->name != name ? nullptr : &*place;
}

const TensorInfo& TensorSource::get(std::string_view name) const {
  const TensorInfo* const tensor = find(name);
  if (tensor == nullptr) {
    fail(ErrorKind::kNotFound, "{}: tensor '{}' is missing{}", path_, name,
         did_you_mean(name, names()));
  }
  return *tensor;
}

std::string TensorSource::describe(const TensorInfo& info) const {
  return fmt::format("{}: tensor '{}'", files_[static_cast<std::size_t>(info.file)].path(),
                     info.name);
}

void TensorSource::read_bytes(const TensorInfo& info, std::uint64_t offset,
                              std::span<std::byte> out) const {
  CONCLAVE_CHECK(offset <= info.bytes && out.size() <= info.bytes - offset,
                 "bytes {} + {} of a tensor of {}", offset, out.size(), info.bytes);
  files_[static_cast<std::size_t>(info.file)].read(info.offset + offset, out);
}

void TensorSource::read_f32(std::string_view name, const Shape& expected,
                            std::span<float> out) const {
  CONCLAVE_CHECK(static_cast<std::int64_t>(out.size()) == expected.count(), "{} for {}", out.size(),
                 expected.str());
  read_f32(name, expected, MatrixView<float>(out.data(), 1, static_cast<std::int64_t>(out.size())));
}

void TensorSource::read_f32(std::string_view name, const Shape& expected,
                            MatrixView<float> out) const {
  const TensorInfo& info = get(name);
  if (!std::ranges::equal(info.dims, expected.dims())) {
    fail(ErrorKind::kBadFile, "{} has the shape {}, expected {}", describe(info), info.shape_str(),
         expected.str());
  }
  read_f32_rows(info, 0, out);
}

void TensorSource::read_f32_rows(const TensorInfo& info, std::int64_t begin,
                                 MatrixView<float> out) const {
  if (!converts_to_f32(info.type)) {
    fail(ErrorKind::kBadFile, "{} holds {}, expected floating-point numbers", describe(info),
         stored_type_name(info.type));
  }
  CONCLAVE_CHECK(begin >= 0 && out.rows >= 0 && out.cols >= 0 &&
                     (out.cols == 0 || begin + out.rows <= info.count() / out.cols),
                 "rows {} + {} of {} columns in {}", begin, out.rows, out.cols, info.shape_str());
  if (out.rows == 0 || out.cols == 0) return;
  const auto width = static_cast<std::uint64_t>(stored_type_bits(info.type)) / 8;
  // Runs of elements that are contiguous on both sides: everything, or one row at a time.
  const bool whole = out.stride == out.cols;
  const std::int64_t runs = whole ? 1 : out.rows;
  const auto run = static_cast<std::size_t>(whole ? out.rows * out.cols : out.cols);
  std::uint64_t offset = static_cast<std::uint64_t>(begin * out.cols) * width;
  std::vector<std::byte> buffer;
  if (info.type != StoredType::kF32) buffer.resize(std::min(run, kChunkElements) * width);
  for (std::int64_t r = 0; r < runs; ++r) {
    std::span<float> target(out.row(r), run);
    while (!target.empty()) {
      const std::size_t n =
          info.type == StoredType::kF32 ? target.size() : std::min(target.size(), kChunkElements);
      if (info.type == StoredType::kF32) {
        read_bytes(info, offset, std::as_writable_bytes(target));
      } else {
        const std::span<std::byte> chunk(buffer.data(), n * width);
        read_bytes(info, offset, chunk);
        convert_to_f32(info.type, chunk, target.first(n));
      }
      offset += n * width;
      target = target.subspan(n);
    }
  }
}

}  // namespace conclave::io
