// A model of a published shape with random weights, as a GGUF file: for measuring what does not
// depend on what a model has learnt (load time, memory, speed).
//
//   synthetic_model SHAPE OUT.gguf [TYPE] [LAYERS] [LOADS.json|uniform [DOMAIN]]
//
// Matrices of TYPE (default Q4_0; embedding and head Q8_0), or llama.cpp's mixture Q4_K_M, with
// entries of variance 1 / columns; the text that such a model writes is noise. Vocabulary: the 256
// bytes and unused tokens.
//
// With LOADS (synthetic_loads.h; "uniform" for equal ones) experts get about these shares of random
// tokens. Then layers add little to the hidden state, so that all of them route the embedding.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "base/error.h"
#include "base/rng.h"
#include "io/gguf.h"
#include "models/convert_tokenizer.h"
#include "models/gguf_form.h"
#include "nn/transformer.h"
#include "synthetic_loads.h"

namespace conclave {
namespace {

nn::TransformerConfig decoder(const char* architecture, int vocabulary, int width, int layers,
                              int heads, int kv_heads, int head_dim) {
  nn::TransformerConfig c;
  c.architecture = architecture;
  c.vocab_size = vocabulary;
  c.d_model = width;
  c.n_layers = layers;
  c.n_heads = heads;
  c.n_kv_heads = kv_heads;
  c.head_dim = head_dim;
  c.max_positions = 32768;
  c.bos_id = 256;
  c.eos_id = 257;
  return c;
}

void add_experts(nn::TransformerConfig& c, int n_experts, int k, int width, bool renormalize) {
  moe::LayerConfig ffn;
  ffn.router = moe::default_router_config("softmax_topk");
  ffn.router.n_experts = n_experts;
  ffn.router.k = k;
  ffn.router.renormalize = renormalize;
  ffn.d_expert = width;
  c.ffn_L.assign(static_cast<std::size_t>(c.n_layers), ffn);
}

nn::TransformerConfig shape(const std::string& name, int layers) {
  const auto n = [&](int usual) { return layers > 0 ? layers : usual; };
  nn::TransformerConfig c;
  if (name == "olmoe-1b-7b") {
    c = decoder("olmoe", 50304, 2048, n(16), 16, 16, 128);
    c.attention.qk_norm = nn::QkNorm::kProjection;
    add_experts(c, 64, 8, 1024, false);
  } else if (name == "olmoe-as-qwen3") {  // for engines that know Qwen3's mixture and not OLMoE
    c = decoder("qwen3_moe", 50304, 2048, n(16), 16, 16, 128);
    c.attention.qk_norm = nn::QkNorm::kHead;
    add_experts(c, 64, 8, 1024, true);
  } else if (name == "qwen3-30b-a3b") {
    c = decoder("qwen3_moe", 151936, 2048, n(48), 32, 4, 128);
    c.rope.theta = 1e6;
    c.attention.qk_norm = nn::QkNorm::kHead;
    add_experts(c, 128, 8, 768, true);
  } else if (name == "mixtral-8x7b") {
    c = decoder("mixtral", 32000, 4096, n(32), 32, 8, 128);
    c.rope.theta = 1e6;
    add_experts(c, 8, 2, 14336, true);
  } else if (name == "gpt-oss-20b") {
    c = decoder("gpt_oss", 201088, 2880, n(24), 64, 8, 64);
    c.rope.theta = 150000;
    c.attention.qkv_bias = c.attention.out_bias = c.attention.sinks = true;
    c.attention_L.resize(static_cast<std::size_t>(c.n_layers));
    for (std::size_t l = 0; l < c.attention_L.size(); l += 2) c.attention_L[l].window = 128;
    add_experts(c, 32, 4, 2880, true);
    for (moe::LayerConfig& ffn : c.ffn_L) {
      ffn.router_bias = ffn.linear_bias = true;
      ffn.activation = moe::Activation::kClampedSwiGlu;
    }
  } else {
    fail(ErrorKind::kInvalidArgument,
         "shape '{}': expected olmoe-1b-7b, olmoe-as-qwen3, qwen3-30b-a3b, mixtral-8x7b or "
         "gpt-oss-20b",
         name);
  }
  return c;
}

// Random rows of `cols` numbers of a variance; `constant` is element 0 of all, if it is not 0.
struct Kind {
  QuantType type;
  std::int64_t cols;
  float deviation, constant;
  auto operator<=>(const Kind&) const = default;
};

// Encoded rows to take from, enough that no two matrices are alike.
const std::vector<std::byte>& pool(const Kind& kind) {
  constexpr std::int64_t kRows = 509;  // prime: tensors begin at other rows
  static std::map<Kind, std::vector<std::byte>> pools;
  std::vector<std::byte>& bytes = pools[kind];
  if (!bytes.empty()) return bytes;
  const auto cols = static_cast<std::size_t>(kind.cols);
  std::vector<float> values(kRows * cols);
  const Rng rng(static_cast<std::uint64_t>(cols) * 31 + static_cast<std::uint64_t>(kind.type));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const bool first = i % cols == 0 && kind.constant != 0;
    values[i] = first ? kind.constant : kind.deviation * static_cast<float>(rng.normal(i));
  }
  bytes.resize(static_cast<std::size_t>(kRows * quant_bytes(kind.type, kind.cols)));
  quantize(kind.type, values, bytes);
  return bytes;
}

// Which type each weight has: one for all but the ends, or llama.cpp's mixture Q4_K_M, which gives
// Q6_K to the head and to values and down projections of half of the layers.
struct Types {
  QuantType most = QuantType::kQ4_0;
  bool mixture = false;

  explicit Types(const std::string& name) : mixture(name == "Q4_K_M") {
    const std::optional<QuantType> type = parse_quant_type(mixture ? "Q4_K" : name);
    if (!type) {
      std::string names = "Q4_K_M";
      for (int t = 0; t < kQuantTypeCount; ++t) {
        names += fmt::format(", {}", quant_info(static_cast<QuantType>(t)).name);
      }
      fail(ErrorKind::kInvalidArgument, "type '{}': expected one of {}", name, names);
    }
    most = *type;
  }
  QuantType of(const ParamSpec& spec, int n_layers) const {
    const Role role = spec.id.role;
    if (spec.shape.rank() < 2 || role == Role::kRouter) return QuantType::kF32;
    if (role == Role::kEmbedding) return mixture ? most : QuantType::kQ8_0;
    if (role == Role::kHead) return mixture ? QuantType::kQ6_K : QuantType::kQ8_0;
    if (!mixture || (role != Role::kValue && role != Role::kExpertDown)) return most;
    const int layer = spec.id.layer, eighth = n_layers / 8;
    const bool more = layer < eighth || layer >= n_layers - eighth || (layer - eighth) % 3 == 2;
    return more ? QuantType::kQ6_K : most;
  }
};

struct Options {
  std::string shape, out, type = "Q4_0", loads, domain = "c4";
  int layers = 0;
};
constexpr std::string_view kUniform = "uniform";

// What each layer's experts get, or nothing: then routing is as it comes.
using Biases = std::vector<std::vector<float>>;

Biases biases_of(const nn::TransformerConfig& c, const Options& o) {
  if (o.loads.empty()) return {};
  const moe::RouterConfig& router = c.ffn_L.front().router;
  const auto n = static_cast<std::size_t>(router.n_experts);
  std::vector<std::vector<double>> loads;
  if (o.loads == kUniform) {
    loads.assign(static_cast<std::size_t>(c.n_layers),
                 std::vector<double>(n, 1 / static_cast<double>(n)));
  } else {
    loads = read_loads(o.loads, o.domain, c.n_layers, router.n_experts);
  }
  std::map<std::vector<double>, std::vector<float>> found;  // few layers differ
  Biases biases;
  for (const std::vector<double>& shares : loads) {
    std::vector<float>& elements = found[shares];
    if (elements.empty()) elements = router_biases(shares, router.k);
    biases.push_back(elements);
  }
  return biases;
}

// Of a weight's rows. With biases the hidden state stays nearly the embedding, of deviation 1 and
// with a constant.
Kind kind_of(const ParamSpec& spec, QuantType type, std::int64_t cols, bool biased) {
  Kind kind = {type, cols, 1 / std::sqrt(static_cast<float>(cols)), 0};
  if (!biased) return kind;
  switch (spec.id.role) {
    case Role::kEmbedding:
      return {type, cols, 1, kBiasElement};
    case Role::kAttnOut:
    case Role::kExpertDown:
    case Role::kSharedDown:
      kind.deviation *= 0.01f;
      return kind;
    default:
      return kind;
  }
}

void add_tensors(const nn::TransformerConfig& c, const Types& types, const Biases& biases,
                 std::vector<io::GgufTensorToWrite>& tensors) {
  const nn::Transformer transformer(c);
  const models::NoNames none;
  std::map<std::string, bool> seen;
  for (const ParamSpec& spec : transformer.specs()) {
    const models::TensorPlace place = models::gguf_place(spec, c, none);
    if (!seen.emplace(place.name, true).second) continue;
    io::GgufTensorToWrite tensor;
    tensor.name = place.name;
    tensor.dims = place.dims;
    const QuantType as = types.of(spec, c.n_layers);
    tensor.type = &io::gguf_type_of(as);
    const std::int64_t cols = place.dims.back();
    if (spec.shape.rank() < 2) {
      const bool added =
          spec.id.role == Role::kAttnOutBias || spec.id.role == Role::kExpertDownBias;
      const float value = added && !biases.empty() ? 0 : 1;
      tensor.fill = [value](std::int64_t, std::int64_t, std::span<std::byte> out) {
        for (std::size_t i = 0; i < out.size(); i += 4) std::memcpy(&out[i], &value, 4);
      };
    } else {
      const std::int64_t start = static_cast<std::int64_t>(tensors.size()) * 37;
      const Kind kind = kind_of(spec, as, cols, !biases.empty());
      const float* first = nullptr;  // elements 0, instead of the pool's
      if (!biases.empty() && spec.id.role == Role::kRouter) {
        first = biases[static_cast<std::size_t>(spec.id.layer)].data();
      }
      tensor.fill = [kind, start, first](std::int64_t begin, std::int64_t,
                                         std::span<std::byte> out) {
        const std::vector<std::byte>& rows = pool(kind);
        const auto row_bytes = static_cast<std::size_t>(quant_bytes(kind.type, kind.cols));
        const std::size_t n = rows.size() / row_bytes;
        auto row = static_cast<std::size_t>(start + begin);
        for (std::size_t at = 0, i = 0; at < out.size(); at += row_bytes, ++row, ++i) {
          std::memcpy(&out[at], &rows[row % n * row_bytes], row_bytes);
          if (first != nullptr) std::memcpy(&out[at], first + begin + i, sizeof(float));
        }
      };
    }
    tensors.push_back(std::move(tensor));
  }
}

// Byte tokens and unused ones, as SentencePiece would number them.
void add_vocabulary(const nn::TransformerConfig& c, io::GgufMetadata& metadata) {
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types;
  std::vector<float> scores(static_cast<std::size_t>(c.vocab_size), 0.0f);
  for (int i = 0; i < c.vocab_size; ++i) {
    const bool byte = i < 256, special = i < 258;
    tokens.push_back(byte ? fmt::format("<0x{:02X}>", i) : fmt::format("<{}>", i));
    types.push_back(byte ? 6 : special ? 3 : 5);
  }
  metadata.set("tokenizer.ggml.model", std::string("llama"));
  metadata.set("tokenizer.ggml.tokens", io::GgufArray::of(tokens));
  metadata.set("tokenizer.ggml.scores", io::GgufArray::of(std::span<const float>(scores)));
  metadata.set("tokenizer.ggml.token_type",
               io::GgufArray::of(std::span<const std::int32_t>(types)));
  metadata.set("tokenizer.ggml.bos_token_id", static_cast<std::uint32_t>(c.bos_id));
  metadata.set("tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(c.eos_id));
  metadata.set("tokenizer.ggml.unknown_token_id", std::uint32_t{257});
  metadata.set("tokenizer.ggml.add_space_prefix", false);
}

void make(const Options& o) {
  const Types types(o.type);
  const nn::TransformerConfig c = shape(o.shape, o.layers);
  io::GgufMetadata metadata = models::gguf_metadata(c);
  metadata.set("general.name", o.shape);
  add_vocabulary(c, metadata);
  std::vector<io::GgufTensorToWrite> tensors;
  const Biases biases = biases_of(c, o);
  add_tensors(c, types, biases, tensors);
  io::write_gguf(o.out, metadata, tensors);
  const std::string loads = o.loads.empty()       ? "as they come"
                            : o.loads == kUniform ? "equal"
                                                  : "of " + o.domain + " in " + o.loads;
  fmt::print("{}: {}, {} layers, {}, loads of experts {}, {:.2f} GB\n", o.out, o.shape, c.n_layers,
             o.type, loads, static_cast<double>(std::filesystem::file_size(o.out)) / 1e9);
}

int run(int argc, char** argv) {
  Options o;
  CLI::App app("A model of a published shape with random weights, as a GGUF file, for measuring");
  app.add_option("SHAPE", o.shape,
                 "olmoe-1b-7b, olmoe-as-qwen3, qwen3-30b-a3b, mixtral-8x7b or gpt-oss-20b")
      ->required();
  app.add_option("OUT", o.out, "the file to write")->required();
  app.add_option("TYPE", o.type, "of the matrices: Q4_0, Q8_0, MXFP4 ..., or the mixture Q4_K_M")
      ->capture_default_str();
  app.add_option("LAYERS", o.layers, "0: as many as published")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  app.add_option(
      "LOADS", o.loads,
      "shares of tokens that experts get: 'uniform', or a file of counts that were\n"
      "taken from a real router (form: bench/synthetic_loads.h); left out: as they come");
  app.add_option("DOMAIN", o.domain, "of the file of counts")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  make(o);
  return 0;
}

}  // namespace
}  // namespace conclave

int main(int argc, char** argv) {
  try {
    return conclave::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "synthetic_model: %s\n", error.what());
    return 1;
  }
}
