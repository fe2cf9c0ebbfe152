#include "models/model_files.h"

#include <algorithm>
#include <deque>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "models/architecture.h"
#include "models/convert_tokenizer.h"
#include "models/gguf_form.h"
#include "sys/files.h"
#include "sys/interrupt.h"

namespace conclave::models {
namespace {

// Buffers that older exports carry and that are computed, not learnt.
bool is_computed(const std::string& name) { return name.ends_with("rotary_emb.inv_freq"); }

void write_json(const std::string& path, const nlohmann::json& json) {
  sys::write_file_atomically(path, json.dump(2) + "\n");
}

struct StoredWeight {
  const ParamSpec* spec;
  TensorPlace place;
  MatrixView<float> values;
};

// Stored tensors that hold several weights are put together first.
void write_weights(const std::string& directory, const std::vector<StoredWeight>& weights,
                   io::StoredType type) {
  std::map<std::string, std::vector<const StoredWeight*>> by_name;
  for (const StoredWeight& weight : weights) by_name[weight.place.name].push_back(&weight);
  std::vector<io::TensorToWrite> tensors;
  std::deque<FloatMatrix> fused;
  for (const StoredWeight& weight : weights) {
    const auto parts = by_name.find(weight.place.name);
    if (parts == by_name.end()) continue;  // written with an earlier part
    const TensorPlace& place = weight.place;
    const io::StoredType as = weight.spec->trained ? type : io::StoredType::kF32;
    const Shape shape{std::span<const std::int64_t>(place.dims)};
    MatrixView<float> values = weight.values;
    if (parts->second.size() > 1 || values.rows * values.cols != shape.count()) {
      const std::int64_t cols = place.dims.back();
      values = fused.emplace_back().resize(shape.count() / cols, cols);
      for (const StoredWeight* part : parts->second)
        scatter_place(part->place, part->values, values);
    }
    tensors.push_back(io::TensorToWrite::floats(place.name, as, shape, values));
    by_name.erase(parts);
  }
  io::write_model_safetensors(directory, tensors);
}

nlohmann::json generation_config(const nn::TransformerConfig& config) {
  nlohmann::json json = {{"_from_model_config", true}};
  if (config.bos_id >= 0) json["bos_token_id"] = config.bos_id;
  if (config.eos_id >= 0) json["eos_token_id"] = config.eos_id;
  if (config.pad_id >= 0) json["pad_token_id"] = config.pad_id;
  return json;
}

}  // namespace

bool is_gguf(const std::string& path) { return path.ends_with(".gguf"); }

nn::TransformerConfig read_config(const std::string& path) {
  if (is_gguf(path)) return config_from_gguf(io::GgufSource(path));
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    fail(ErrorKind::kNotFound, "{}: no such file or directory", path);
  }
  if (!std::filesystem::is_directory(path, ignored)) {
    fail(ErrorKind::kInvalidArgument,
         "{}: expected the directory of a model, or a GGUF file, whose name ends in .gguf", path);
  }
  const std::string file = (std::filesystem::path(path) / "config.json").string();
  const nlohmann::json json = io::read_json_file(file);
  const io::JsonView view(json, file);
  const Architecture& architecture = find_architecture(view.string("model_type"));
  nn::TransformerConfig config = architecture.parse(view);
  config.architecture = architecture.model_type;
  return with_context(file, [&] {
    nn::validate(config);
    return std::move(config);
  });
}

FileWeights::FileWeights(const std::string& path, const nn::TransformerConfig& config)
    : gguf_(is_gguf(path)), config_(config) {
  if (gguf_) {
    rows_ = std::make_unique<GgufRows>(path);
  } else {
    rows_ = std::make_unique<SafetensorsRows>(path);
  }
  // Before any list of weights is made: what a byte holds at most is four values of 2 bits.
  const auto stored =
      static_cast<std::int64_t>(std::min<std::uint64_t>(stored_bytes(), 1ull << 60));
  const std::int64_t asked = nn::count_parameters(config).total;
  if (asked / 4 > stored) {
    fail(ErrorKind::kBadFile,
         "{}: its configuration asks for {} parameters, but its {} bytes of tensors cannot hold "
         "them",
         path, asked, stored);
  }
}

TensorPlace FileWeights::place(const ParamSpec& spec) const {
  if (gguf_) return gguf_place(spec, config_, *rows_);
  return find_architecture(config_.architecture).place(spec, config_, *rows_);
}

// Tensors that are no weights of the layers that run.
bool FileWeights::expected_extra(const std::string& name) const {
  if (gguf_) {
    int layer = -1;
    const bool beyond =
        std::sscanf(name.c_str(), "blk.%d.", &layer) == 1 && layer >= config_.n_layers;
    return beyond || is_gguf_constant(name);
  }
  const Architecture& architecture = find_architecture(config_.architecture);
  return is_computed(name) ||
         (architecture.ignores != nullptr && architecture.ignores(name, config_));
}

void FileWeights::check(const std::vector<ParamSpec>& specs) const {
  std::set<std::string> used;
  for (const ParamSpec& spec : specs) rows_->check(place(spec), spec, used);
  for (const std::string& name : rows_->names()) {
    if (used.contains(name) || expected_extra(name)) continue;
    fail(ErrorKind::kBadFile,
         "{}: tensor '{}' is not a weight of this architecture with this configuration",
         rows_->path(), name);
  }
}

void FileWeights::read(const ParamSpec& spec, MatrixView<float> out) {
  sys::stop_if_interrupted("reading the weights");
  read_place(*rows_, place(spec), out);
}

std::optional<QuantType> FileWeights::block_type(const ParamSpec& spec) const {
  const TensorPlace where = place(spec);
  if (spec.shape.rank() != 2 || !can_take_blocks(where)) return {};
  return rows_->block_type(where);
}

void FileWeights::read_blocks(const ParamSpec& spec, std::span<std::byte> out) {
  sys::stop_if_interrupted("reading the weights");
  const TensorPlace where = place(spec);
  const std::int64_t row_bytes = quant_bytes(*rows_->block_type(where), spec.shape[1]);
  read_place_blocks(*rows_, where, spec.shape[0], row_bytes, out);
}

QuantType FileWeights::stored_type(const ParamSpec& spec) const {
  return rows_->stored_type(place(spec));
}

std::uint64_t FileWeights::stored_bytes() const { return rows_->stored_bytes(); }

std::string FileWeights::stored_type() const {
  const std::set<std::string> types = rows_->stored_types();
  return types.size() == 1 ? *types.begin() : "mixed";
}

DType natural_compute(std::string_view stored_type) {
  return stored_type == "F32" ? DType::kF32 : DType::kBF16;
}

std::optional<text::Tokenizer> load_tokenizer(const std::string& path) {
  if (is_gguf(path)) {
    const io::GgufSource source(path);
    const io::GgufMetadata& metadata = source.metadata();
    if (metadata.has(kTokenizerJsonKey)) {  // exact, where the other keys are a translation
      return text::Tokenizer::from_json_text(metadata.string(kTokenizerJsonKey), path);
    }
    if (!metadata.has("tokenizer.ggml.tokens")) return {};
    return with_context(path, [&] { return text::Tokenizer::from_gguf(metadata); });
  }
  try {
    return text::Tokenizer::load(path);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kNotFound) return {};
    throw;
  }
}

namespace {

void add_ids(const nlohmann::json& json, std::vector<std::int32_t>& ids) {
  const auto found = json.find("eos_token_id");
  if (found == json.end()) return;
  const nlohmann::json list = found->is_array() ? *found : nlohmann::json::array({*found});
  for (const nlohmann::json& id : list) {
    if (id.is_number_integer()) ids.push_back(id.get<std::int32_t>());
  }
}

}  // namespace

std::vector<std::int32_t> end_ids(const std::string& path, const nn::TransformerConfig& config) {
  std::vector<std::int32_t> ids;
  if (config.eos_id >= 0) ids.push_back(config.eos_id);
  if (is_gguf(path)) {
    const io::GgufSource source(path);
    for (const char* name : {"eot", "eom"}) {
      const std::string key = fmt::format("tokenizer.ggml.{}_token_id", name);
      const std::int64_t id = source.metadata().integer(key, -1, INT64_C(0xffffffff), -1);
      if (id >= 0 && id < config.vocab_size) ids.push_back(static_cast<std::int32_t>(id));
    }
  } else {
    for (const char* name : {"config.json", "generation_config.json"}) {
      const std::filesystem::path file = std::filesystem::path(path) / name;
      if (std::filesystem::exists(file)) add_ids(io::read_json_file(file.string()), ids);
    }
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

LoadedModel load_model(ops::Context& context, const std::string& path, const Precision& precision) {
  nn::TransformerConfig config = read_config(path);
  FileWeights weights(path, config);
  LoadedModel model;
  model.transformer = std::make_unique<nn::Transformer>(std::move(config));
  weights.check(model.transformer->specs());
  model.transformer->load_for_inference(context, weights, precision.compute);
  if (precision.kv) model.transformer->set_kv_type(*precision.kv);
  model.tokenizer = load_tokenizer(path);
  model.end_ids = end_ids(path, model.transformer->config());
  return model;
}

void save_model(const nn::Transformer& transformer, const std::string& directory, DType stored) {
  const nn::TransformerConfig& config = transformer.config();
  const Architecture& architecture = architecture_for(config);
  const std::filesystem::path root(directory);
  nlohmann::json json = architecture.write(config);
  json["model_type"] = architecture.model_type;
  json["architectures"] = {architecture.class_name};
  json["torch_dtype"] = stored == DType::kBF16 ? "bfloat16" : "float32";
  write_json((root / "config.json").string(), json);
  write_json((root / "generation_config.json").string(), generation_config(config));

  const io::StoredType type = stored == DType::kBF16 ? io::StoredType::kBF16 : io::StoredType::kF32;
  std::vector<StoredWeight> weights;
  const ParameterSet& parameters = transformer.parameters();
  for (int i = 0; i < static_cast<int>(parameters.specs().size()); ++i) {
    const ParamSpec& spec = parameters.specs()[static_cast<std::size_t>(i)];
    weights.push_back({&spec, architecture.place(spec, config, NoNames()), parameters.value(i)});
  }
  write_weights(directory, weights, type);
}

}  // namespace conclave::models
