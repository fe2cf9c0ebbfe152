#include "models/model_files.h"

#include <algorithm>
#include <deque>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "models/architecture.h"
#include "sys/files.h"

namespace conclave::models {
namespace {

// Buffers that older exports carry and that are computed, not learnt.
bool is_computed(const std::string& name) { return name.ends_with("rotary_emb.inv_freq"); }

void write_json(const std::string& path, const nlohmann::json& json) {
  sys::write_file_atomically(path, json.dump(2) + "\n");
}

// A new checkpoint: no file says how it is stored, so that the architecture's usual form is chosen.
class NoNames final : public StoredNames {
 public:
  bool has(const std::string&) const override { return false; }
};

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

nn::TransformerConfig read_config(const std::string& directory) {
  const std::string path = (std::filesystem::path(directory) / "config.json").string();
  const nlohmann::json json = io::read_json_file(path);
  const io::JsonView view(json, path);
  const Architecture& architecture = find_architecture(view.string("model_type"));
  nn::TransformerConfig config = architecture.parse(view);
  config.architecture = architecture.model_type;
  return with_context(path, [&] {
    nn::validate(config);
    return std::move(config);
  });
}

FileWeights::FileWeights(const std::string& directory, const nn::TransformerConfig& config)
    : rows_(directory), config_(config) {
  // Before any list of weights is made: what a byte holds at most is two values of 4 bits.
  const auto stored =
      static_cast<std::int64_t>(std::min<std::uint64_t>(stored_bytes(), 1ull << 60));
  const std::int64_t asked = nn::count_parameters(config).total;
  if (asked > 2 * stored) {
    fail(ErrorKind::kBadFile,
         "{}: config.json asks for {} parameters, but the {} bytes of tensors cannot hold them",
         rows_.path(), asked, stored);
  }
}

TensorPlace FileWeights::place(const ParamSpec& spec) const {
  return find_architecture(config_.architecture).place(spec, config_, rows_);
}

void FileWeights::check(const std::vector<ParamSpec>& specs) const {
  std::set<std::string> used;
  for (const ParamSpec& spec : specs) rows_.check(place(spec), spec, used);
  const Architecture& architecture = find_architecture(config_.architecture);
  for (const io::TensorInfo& info : rows_.files().tensors()) {
    if (used.contains(info.name) || is_computed(info.name)) continue;
    if (architecture.ignores != nullptr && architecture.ignores(info.name, config_)) continue;
    fail(ErrorKind::kBadFile, "{}: is not a weight of this architecture with this config.json",
         rows_.files().describe(info));
  }
}

void FileWeights::read(const ParamSpec& spec, MatrixView<float> out) {
  read_place(rows_, place(spec), out);
}

std::uint64_t FileWeights::stored_bytes() const {
  std::uint64_t bytes = 0;
  for (const io::TensorInfo& info : rows_.files().tensors()) bytes += info.bytes;
  return bytes;
}

std::string FileWeights::stored_type() const {
  std::set<std::string> types;
  for (const io::TensorInfo& info : rows_.files().tensors()) {
    types.insert(std::string(io::stored_type_name(info.type)));
  }
  return types.size() == 1 ? *types.begin() : "mixed";
}

DType natural_compute(std::string_view stored_type) {
  return stored_type == "F32" ? DType::kF32 : DType::kBF16;
}

LoadedModel load_model(ops::Context& context, const std::string& directory, DType compute) {
  nn::TransformerConfig config = read_config(directory);
  FileWeights weights(directory, config);
  LoadedModel model;
  model.transformer = std::make_unique<nn::Transformer>(std::move(config));
  weights.check(model.transformer->specs());
  model.transformer->load_for_inference(context, weights, compute);
  const auto tokenizer = std::filesystem::path(directory) / "tokenizer.json";
  if (std::filesystem::exists(tokenizer)) model.tokenizer = text::Tokenizer::load(tokenizer);
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
