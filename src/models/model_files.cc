#include "models/model_files.h"

#include <filesystem>
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
    : files_(directory), architecture_(config.architecture) {}

void FileWeights::check(const std::vector<ParamSpec>& specs) const {
  const Architecture& architecture = find_architecture(architecture_);
  std::set<std::string> expected;
  for (const ParamSpec& spec : specs) {
    const std::string name = architecture.tensor_name(spec.id);
    const io::TensorInfo* info = files_.find(name);
    if (info == nullptr) {
      fail(ErrorKind::kNotFound, "{}: tensor '{}' ({}) is missing", files_.path(), name,
           describe(spec.id));
    }
    const auto dims = spec.shape.dims();
    if (!std::equal(dims.begin(), dims.end(), info->dims.begin(), info->dims.end())) {
      fail(ErrorKind::kBadFile, "{}: has shape {}, but config.json asks for {}",
           files_.describe(*info), info->shape_str(), spec.shape.str());
    }
    expected.insert(name);
  }
  for (const io::TensorInfo& info : files_.tensors()) {
    if (expected.contains(info.name) || is_computed(info.name)) continue;
    fail(ErrorKind::kBadFile, "{}: is not a weight of this architecture with this config.json",
         files_.describe(info));
  }
}

void FileWeights::read(const ParamSpec& spec, MatrixView<float> out) {
  files_.read_f32(find_architecture(architecture_).tensor_name(spec.id), spec.shape, out);
}

std::uint64_t FileWeights::stored_bytes() const {
  std::uint64_t bytes = 0;
  for (const io::TensorInfo& info : files_.tensors()) bytes += info.bytes;
  return bytes;
}

std::string FileWeights::stored_type() const {
  std::set<std::string> types;
  for (const io::TensorInfo& info : files_.tensors()) {
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
  std::vector<io::TensorToWrite> tensors;
  const ParameterSet& parameters = transformer.parameters();
  for (int i = 0; i < static_cast<int>(parameters.specs().size()); ++i) {
    const ParamSpec& spec = parameters.specs()[static_cast<std::size_t>(i)];
    const io::StoredType as = spec.trained ? type : io::StoredType::kF32;
    tensors.push_back(io::TensorToWrite::floats(architecture.tensor_name(spec.id), as, spec.shape,
                                                parameters.value(i)));
  }
  io::write_model_safetensors(directory, tensors);
}

}  // namespace conclave::models
