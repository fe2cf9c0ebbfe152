#include "models/convert.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "models/convert_tokenizer.h"
#include "models/gguf_form.h"
#include "nn/transformer.h"
#include "sys/files.h"

namespace conclave::models {
namespace {

namespace fs = std::filesystem;

// Which entry of the policy decides; null: always F32.
const std::optional<QuantType>* policy_of(const TypePolicy& types, const ParamSpec& spec) {
  if (spec.shape.rank() < 2) return nullptr;
  switch (spec.id.role) {
    case Role::kEmbedding:
    case Role::kHead:
      return &types.embeddings;
    case Role::kExpertGate:
    case Role::kExpertUp:
    case Role::kExpertDown:
      return &types.experts;
    case Role::kSharedGate:
    case Role::kSharedUp:
    case Role::kSharedDown:
      return &types.shared;
    case Role::kRouter:
    case Role::kRouterNoise:
    case Role::kSharedExpertGate:
      return nullptr;
    default:
      return &types.attention;
  }
}

// The type, or the nearest that is written and whose blocks fill rows of `cols`.
QuantType fitting(QuantType type, std::int64_t cols) {
  const QuantInfo& info = quant_info(type);
  if (cols % info.block_count == 0) return type;
  return cols % quant_info(QuantType::kQ8_0).block_count == 0 ? QuantType::kQ8_0 : QuantType::kF16;
}

// A stored tensor of the new form, and the weights in it.
struct Part {
  const ParamSpec* spec;
  TensorPlace place;
};
struct NewTensor {
  std::string name;
  std::vector<std::int64_t> dims;
  std::vector<Part> parts;
};

template <class Place>
std::vector<NewTensor> group(const std::vector<ParamSpec>& specs, const Place& place) {
  std::vector<NewTensor> tensors;
  std::map<std::string, std::size_t> index;
  for (const ParamSpec& spec : specs) {
    TensorPlace where = place(spec);
    const auto [found, is_new] = index.emplace(where.name, tensors.size());
    if (is_new) tensors.push_back({where.name, where.dims, {}});
    tensors[found->second].parts.push_back({&spec, std::move(where)});
  }
  return tensors;
}

// Encodes a tensor piece by piece, each piece one weight.
class Encoder {
 public:
  Encoder(ops::Context& context, FileWeights& in, NewTensor& tensor, QuantType type,
          ConvertedTensor& report)
      : context_(context), in_(in), tensor_(tensor), type_(type), report_(report) {
    row_bytes_ = quant_bytes(type, tensor.dims.back());
    std::ranges::sort(tensor.parts, {}, [](const Part& part) { return part.place.offset; });
  }

  // Rows [begin, begin + count) of the stored tensor; in order.
  void fill(std::int64_t begin, std::int64_t count, std::span<std::byte> out) {
    for (std::int64_t row = begin; row < begin + count;) {
      const std::size_t at = part_with(row);
      if (at != loaded_) load(at);
      const std::int64_t first = first_row(tensor_.parts[at]);
      const std::int64_t end = std::min(begin + count, first + rows_of(tensor_.parts[at]));
      std::copy_n(encoded_.data() + (row - first) * row_bytes_, (end - row) * row_bytes_,
                  out.data() + (row - begin) * row_bytes_);
      row = end;
    }
    if (squares_ > 0) report_.relative_error = std::sqrt(errors_ / squares_);
  }

 private:
  std::int64_t first_row(const Part& part) const { return part.place.offset / tensor_.dims.back(); }
  static std::int64_t rows_of(const Part& part) {
    return part.spec->shape.rank() < 2 ? 1 : part.spec->shape[0];
  }
  std::size_t part_with(std::int64_t row) const {
    std::size_t at = 0;
    while (at + 1 < tensor_.parts.size() && first_row(tensor_.parts[at + 1]) <= row) ++at;
    return at;
  }

  void load(std::size_t at) {
    const Part& part = tensor_.parts[at];
    const std::int64_t n = rows_of(part), cols = tensor_.dims.back();
    encoded_.resize(static_cast<std::size_t>(n * row_bytes_));
    if (in_.block_type(*part.spec) == type_) {
      std::vector<std::byte> rows(encoded_.size());
      in_.read_blocks(*part.spec, rows);
      for (std::int64_t r = 0; r < n; ++r) {
        std::copy_n(rows.data() + r * row_bytes_, row_bytes_,
                    encoded_.data() + stored_row(part, r) * row_bytes_);
      }
    } else {
      encode(part, n, cols);
    }
    loaded_ = at;
  }

  static std::int64_t stored_row(const Part& part, std::int64_t row) {
    const std::vector<std::int32_t>& order = part.place.order;
    if (order.empty() || part.spec->shape.rank() < 2) return row;
    const auto size = static_cast<std::int64_t>(order.size());
    return row / size * size + order[static_cast<std::size_t>(row % size)];
  }

  void encode(const Part& part, std::int64_t n, std::int64_t cols) {
    const MatrixView<float> read = values_.resize(n, cols);
    in_.read(*part.spec, read);
    MatrixView<float> stored = read;
    if (!part.place.order.empty()) {
      TensorPlace alone = part.place;
      alone.offset = 0;
      stored = ordered_.resize(n, cols);
      scatter_place(alone, read, stored);
    }
    std::vector<double> errors(static_cast<std::size_t>(n)), squares(errors.size());
    context_.pool.parallel_for(n, 1, [&](std::int64_t begin, std::int64_t end) {
      std::vector<float> back(static_cast<std::size_t>(cols));
      for (std::int64_t r = begin; r < end; ++r) {
        std::byte* to = encoded_.data() + r * row_bytes_;
        const float* from = stored.row(r);
        quantize(type_, {from, static_cast<std::size_t>(cols)},
                 {to, static_cast<std::size_t>(row_bytes_)});
        dequantize(type_, to, cols, back.data());
        for (std::int64_t c = 0; c < cols; ++c) {
          const double x = from[c], d = static_cast<double>(back[static_cast<std::size_t>(c)]) - x;
          errors[static_cast<std::size_t>(r)] += d * d;
          squares[static_cast<std::size_t>(r)] += x * x;
        }
      }
    });
    for (std::size_t r = 0; r < errors.size(); ++r) {
      errors_ += errors[r];
      squares_ += squares[r];
    }
  }

  static constexpr std::size_t kNone = ~std::size_t{0};
  ops::Context& context_;
  FileWeights& in_;
  const NewTensor& tensor_;
  QuantType type_;
  ConvertedTensor& report_;
  std::int64_t row_bytes_ = 0;
  std::size_t loaded_ = kNone;
  std::vector<std::byte> encoded_;
  FloatMatrix values_, ordered_;
  double errors_ = 0, squares_ = 0;
};

struct Input {
  nn::TransformerConfig config;
  std::vector<ParamSpec> specs;
  FileWeights weights;

  explicit Input(const std::string& path)
      : config(read_config(path)), specs(nn::Transformer(config).specs()), weights(path, config) {
    weights.check(specs);
  }
};

// A directory that appears whole: it is filled under a temporary name beside `out`, and removed
// again unless put_in_place() is reached.
class NewDirectory {
 public:
  explicit NewDirectory(const std::string& out) : out_(fs::path(out) / "") {
    out_ = out_.parent_path();  // without a slash at its end
    made_ = out_.parent_path() / fmt::format(".{}.tmp-{}", out_.filename().string(), ::getpid());
    std::error_code ignored;
    fs::remove_all(made_, ignored);
    sys::make_directories(made_.string());
  }
  ~NewDirectory() {
    std::error_code ignored;
    fs::remove_all(made_, ignored);
  }
  NewDirectory(const NewDirectory&) = delete;
  NewDirectory& operator=(const NewDirectory&) = delete;
  std::string path() const { return made_.string(); }

  // The files, where they are now. A directory that was there before keeps its other files, but not
  // other weights: those would be read together with the new ones.
  std::vector<std::string> put_in_place() {
    const std::vector<std::string> names = sys::list_directory(path());
    std::error_code error;
    fs::rename(made_, out_, error);  // takes the place of nothing, or of an empty directory
    if (error) {
      sys::make_directories(out_.string());
      for (const std::string& old : sys::list_directory(out_.string())) {
        if (old.ends_with(".safetensors") || old == "model.safetensors.index.json") {
          fs::remove(out_ / old);
        }
      }
      for (const std::string& name : names) fs::rename(made_ / name, out_ / name);
    }
    std::vector<std::string> files;
    for (const std::string& name : names) files.push_back((out_ / name).string());
    return files;
  }

 private:
  fs::path out_, made_;
};

void announce(const ConvertOptions& options, std::size_t done, std::size_t total,
              const std::string& name) {
  if (options.progress && !options.progress(done, total, name)) {
    fail(ErrorKind::kInterrupted, "stopped while converting: nothing was written");
  }
}

// What llama.cpp calls the mixture of types, for people.
std::uint32_t file_type(QuantType type) {
  switch (type) {
    case QuantType::kF32:
      return 0;
    case QuantType::kF16:
      return 1;
    case QuantType::kQ4_0:
      return 2;
    case QuantType::kQ4_1:
      return 3;
    case QuantType::kQ8_0:
      return 7;
    case QuantType::kQ4_K:
      return 15;
    case QuantType::kQ5_K:
      return 17;
    case QuantType::kQ6_K:
      return 18;
    case QuantType::kBF16:
      return 32;
    case QuantType::kMXFP4:
      return 38;
    default:
      return 1024;  // guessed from the tensors
  }
}

io::GgufMetadata all_metadata(const std::string& in, const Input& input, QuantType main_type,
                              std::vector<std::string>& warnings) {
  io::GgufMetadata metadata = gguf_metadata(input.config);
  const std::filesystem::path path(in);
  const std::filesystem::path named = path.has_filename() ? path : path.parent_path();
  metadata.set("general.type", std::string("model"));
  metadata.set("general.name", named.stem().string());
  metadata.set("general.file_type", file_type(main_type));
  metadata.set("general.quantization_version", std::uint32_t{2});
  if (std::string warning = add_tokenizer_keys(in, input.config, metadata); !warning.empty()) {
    warnings.push_back(std::move(warning));
  }
  return metadata;
}

}  // namespace

ConvertReport convert_to_gguf(ops::Context& context, const std::string& in, const std::string& out,
                              const ConvertOptions& options) {
  Input input(in);
  const NoNames none;
  std::vector<NewTensor> tensors = group(
      input.specs, [&](const ParamSpec& spec) { return gguf_place(spec, input.config, none); });
  ConvertReport report;
  report.tensors.resize(tensors.size());
  std::vector<std::unique_ptr<Encoder>> encoders;
  std::vector<io::GgufTensorToWrite> writes;
  QuantType main_type = QuantType::kF32;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    NewTensor& tensor = tensors[i];
    const ParamSpec& first = *tensor.parts[0].spec;
    const std::optional<QuantType>* asked = policy_of(options.types, first);
    const QuantType stored = input.weights.stored_type(first);
    const QuantType wanted = asked == nullptr ? QuantType::kF32 : asked->value_or(stored);
    const QuantType type = fitting(wanted, tensor.dims.back());
    if (asked == &options.types.experts) main_type = wanted;
    ConvertedTensor& line = report.tensors[i];
    line = {tensor.name, quant_info(stored).name, quant_info(type).name, 0, 0, type != wanted};
    encoders.push_back(std::make_unique<Encoder>(context, input.weights, tensor, type, line));
    Encoder* encoder = encoders.back().get();
    io::GgufTensorToWrite write;
    write.name = tensor.name;
    write.type = &io::gguf_type_of(type);
    write.dims = tensor.dims;
    write.fill = [&, i, encoder](std::int64_t begin, std::int64_t count,
                                 std::span<std::byte> bytes) {
      if (begin == 0) {
        announce(options, i, tensors.size(), tensors[i].name);
        if (i > 0) encoders[i - 1].reset();
      }
      encoder->fill(begin, count, bytes);
    };
    line.bytes = static_cast<std::uint64_t>(write.rows()) * write.row_bytes();
    report.bytes += line.bytes;
    writes.push_back(std::move(write));
  }
  const std::vector<GgufConstant> constants = gguf_constants(input.config);
  for (const GgufConstant& constant : constants) {
    const auto n = static_cast<std::int64_t>(constant.values.size());
    writes.push_back(io::GgufTensorToWrite::floats(constant.name, QuantType::kF32, Shape{n},
                                                   {constant.values.data(), 1, n}));
  }
  io::GgufOptions gguf;
  gguf.max_shard_bytes = options.max_shard_bytes;
  report.files =
      io::write_gguf(out, all_metadata(in, input, main_type, report.warnings), writes, gguf);
  return report;
}

ConvertReport convert_to_directory(ops::Context&, const std::string& in, const std::string& out,
                                   const ConvertOptions& options) {
  Input input(in);
  const Architecture& architecture = find_architecture(input.config.architecture);
  const NoNames none;
  const std::vector<NewTensor> tensors = group(input.specs, [&](const ParamSpec& spec) {
    return architecture.place(spec, input.config, none);
  });
  nlohmann::json config = architecture.write(input.config);
  ConvertReport report;
  report.tensors.resize(tensors.size());
  FloatMatrix whole;
  std::size_t assembled = tensors.size();
  const auto assemble = [&](std::size_t i) {
    announce(options, i, tensors.size(), tensors[i].name);
    const std::int64_t cols = tensors[i].dims.back();
    const std::int64_t rows = Shape(std::span<const std::int64_t>(tensors[i].dims)).count() / cols;
    const MatrixView<float> to = whole.resize(rows, cols);
    FloatMatrix part;
    for (const Part& p : tensors[i].parts) {
      const auto dims = p.spec->shape.dims();
      const MatrixView<float> values =
          part.resize(p.spec->shape.count() / dims.back(), dims.back());
      input.weights.read(*p.spec, values);
      scatter_place(p.place, values, to);
    }
    assembled = i;
  };
  std::vector<io::TensorToWrite> writes;
  std::set<std::string> types;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const ParamSpec& first = *tensors[i].parts[0].spec;
    const std::optional<QuantType>* asked = policy_of(options.types, first);
    const QuantType stored = input.weights.stored_type(first);
    QuantType type = asked == nullptr ? stored : asked->value_or(stored);
    const bool blocks = quant_info(type).block_count > 1;
    if (blocks && asked != nullptr && asked->has_value()) {
      fail(ErrorKind::kUnsupported,
           "a directory holds F32, F16 or BF16, not {}: name the output NAME.gguf",
           quant_info(type).name);
    }
    if (blocks) type = QuantType::kBF16;
    if (!first.trained) type = QuantType::kF32;
    types.insert(quant_info(type).name);
    io::TensorToWrite write;
    write.name = tensors[i].name;
    write.type = type == QuantType::kF32   ? io::StoredType::kF32
                 : type == QuantType::kF16 ? io::StoredType::kF16
                                           : io::StoredType::kBF16;
    write.dims = tensors[i].dims;
    const auto width = static_cast<std::uint64_t>(quant_info(type).block_bytes);
    write.fill = [&, i, type, width](std::uint64_t offset, std::span<std::byte> bytes) {
      if (assembled != i) assemble(i);
      quantize(type, {whole.data() + offset / width, bytes.size() / width}, bytes);
    };
    ConvertedTensor& line = report.tensors[i];
    line = {
        tensors[i].name, quant_info(stored).name, quant_info(type).name, write.bytes(), 0, false};
    report.bytes += line.bytes;
    writes.push_back(std::move(write));
  }
  config["model_type"] = architecture.model_type;
  config["architectures"] = {architecture.class_name};
  config["torch_dtype"] = types.contains("BF16")  ? "bfloat16"
                          : types.contains("F16") ? "float16"
                                                  : "float32";
  NewDirectory made(out);
  io::write_model_safetensors(
      made.path(), writes, options.max_shard_bytes > 0 ? options.max_shard_bytes : 5'000'000'000);
  if (std::string warning = copy_tokenizer_files(in, input.config, made.path()); !warning.empty()) {
    report.warnings.push_back(std::move(warning));
  }
  sys::write_file_atomically(sys::join_path(made.path(), "config.json"), config.dump(2) + "\n");
  report.files = made.put_in_place();
  return report;
}

}  // namespace conclave::models
