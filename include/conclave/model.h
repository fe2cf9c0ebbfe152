// A mixture-of-experts language model in memory: text in, text, scores and routing out.
//
//   conclave::Model model("my-model");
//   model.generate("It was a dark", {}, [](std::string_view piece) {
//     std::cout << piece << std::flush;
//     return true;
//   });
//
// Errors: every function throws conclave::Error (error.h) for what files and arguments do wrong;
// the model stays usable. Out of memory is Error(kOutOfMemory).
//
// Threads: a Model computes on threads of its own and is used by one caller at a time; it does not
// lock. Encoding, decoding and info() may be called by any number of threads at once. Two Models
// are independent.
//
// Same bits: on one machine a token's result does not depend on the number of threads or on what
// is computed with it.
//
// Shape letters: T tokens, V vocabulary.
#pragma once

#include <conclave/error.h>
#include <conclave/export.h>
#include <conclave/generate.h>
#include <conclave/routing.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace conclave {

// The type of the matrix products; sums are f32 in both, routers multiply in f32 in both.
enum class Compute {
  kAuto,  // what the files hold: f32 for f32 weights, else bf16
  kF32,
  kBF16,  // half the memory of f32, faster
};

// The type of the keys and values that are kept of the tokens read so far.
enum class KeyValues {
  kAuto,  // f32 beside products in f32, else f16
  kF32,
  kF16,
  kQ8_0,  // 32 numbers of 8 bits share a scale: 34 bytes, f16 has 64
};

struct LoadOptions {
  int threads = 0;  // 1 to 4096; 0: one for each physical core that the process may use, or fewer
                    // where its control group has a quota
  Compute compute = Compute::kAuto;
  KeyValues key_values = KeyValues::kAuto;
};

struct LayerInfo {
  int n_experts = 0;          // routed experts; 1: a dense layer
  int experts_per_token = 0;  // K
  int expert_width = 0;       // hidden width of one expert
  int shared_width = 0;       // of the expert that all tokens pass, 0: none
  std::string router;         // for people: "softmax_topk: 8 experts, ..."; empty for dense layers
};

struct ModelInfo {
  std::string architecture;        // model_type of config.json
  std::string stored_type;         // "F32", "BF16", ..., or "mixed"
  std::int64_t params_total = 0;   // parameters in all
  std::int64_t params_active = 0;  // of which one token uses so many
  std::int64_t stored_bytes = 0;   // of all tensors in the files
  std::int64_t vocab_size = 0;     // V
  std::int64_t context = 0;        // longest sequence, tokens
  int width = 0;                   // of the residual stream
  int heads = 0, kv_heads = 0, head_dim = 0;
  int bos_id = -1, eos_id = -1;  // special tokens, -1: none
  std::vector<LayerInfo> layers;
};

// Reads config.json and the heads of the weight files of a model directory, and checks that they
// fit each other; loads nothing. Throws kNotFound, kBadFile, kUnsupported, kIo.
CONCLAVE_API ModelInfo read_model_info(const std::string& directory);

// Scores of a sequence, row-major [rows, cols] = [T, V].
struct Logits {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::vector<float> values;
  std::span<const float> row(std::int64_t t) const {
    return {values.data() + t * cols, static_cast<std::size_t>(cols)};
  }
};

struct Likelihood {
  double nll = 0;           // negative log-likelihood, nats, summed over the predicted tokens
  std::int64_t tokens = 0;  // predicted: all but the first of the sequence
  std::int64_t bytes = 0;   // that the predicted tokens stand for; 0 where the input was ids
};

class CONCLAVE_API Model {
 public:
  // Loads a Hugging Face directory: config.json, *.safetensors and, where there is one,
  // tokenizer.json. Throws kNotFound, kBadFile, kUnsupported, kIo, kOutOfMemory, and
  // kInvalidArgument for the options.
  explicit Model(const std::string& directory, const LoadOptions& options = {});
  ~Model();
  Model(Model&&) noexcept;  // a moved-from Model may only be assigned to or destroyed
  Model& operator=(Model&&) noexcept;

  const ModelInfo& info() const;
  int threads() const;
  Compute compute() const;  // kF32 or kBF16

  // False: only functions that take ids work, the others throw kNotFound.
  bool has_tokenizer() const;
  // add_special: the tokens that the tokenizer's file puts around a text (<s>, ...). Special tokens
  // spelled out in the text are plain characters.
  std::vector<std::int32_t> encode(std::string_view text, bool add_special = true) const;
  // Ids that do not exist give nothing. May end inside a UTF-8 character if the ids do.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special = false) const;

  // Continues a prompt. kInvalidArgument where the prompt is longer than the context.
  Generation generate(std::string_view prompt, const GenerateOptions& options = {},
                      const TextCallback& on_text = {});

  // Logits of every position: row t scores what follows ids[0..t]. At most `context` ids, each in
  // [0, V); else kInvalidArgument. No ids give no rows. Takes T * V * 4 bytes.
  Logits logits(std::span<const std::int32_t> ids);

  // How well the model predicts a text of any length, in windows of `window` tokens (0: the
  // context) that follow each other without overlap; special tokens are not added. kInvalidArgument
  // below 2 tokens.
  Likelihood likelihood(std::string_view text, std::int64_t window = 0);
  Likelihood likelihood(std::span<const std::int32_t> ids, std::int64_t window = 0);

  // Which experts each token goes to in each routed layer, and with what weight. Any length, in
  // windows as above. A text is encoded without special tokens: token t is encode(text, false)[t].
  Routing routing(std::string_view text, std::int64_t window = 0);
  Routing routing(std::span<const std::int32_t> ids, std::int64_t window = 0);

  // Counts over everything that was computed since loading or the last reset, in layer order; no
  // entry for a layer that counted nothing yet.
  std::vector<LayerStatistics> routing_statistics() const;
  // The same and co-activation as JSON, schema "conclave.routing/1".
  std::string routing_statistics_json() const;
  void reset_routing_statistics();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace conclave
