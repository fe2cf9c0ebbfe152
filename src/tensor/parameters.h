// The weights of a model as a list: what each one is, its shape, and, in training, its place in one
// flat array of values and one of gradients (so that optimiser, clipping and checkpoints are plain
// loops). Neighbours in the list are neighbours in memory: q, k, v of a layer, or gate and up of an
// expert, are one matrix to the kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tensor/quant_types.h"
#include "tensor/tensor.h"

namespace conclave {

// The part that a weight plays. models/ knows how each architecture's files name it.
enum class Role : std::uint8_t {
  kEmbedding,    // [V, D]
  kAttnNorm,     // [D]
  kQuery,        // [H*Q, D]
  kKey,          // [G*Q, D]
  kValue,        // [G*Q, D]
  kAttnOut,      // [D, H*Q]
  kFfnNorm,      // [D]
  kRouter,       // [E, D]
  kRouterNoise,  // [E, D], noisy top-k only
  kExpertBias,   // [E], selection only; not trained by gradients
  kExpertGate,   // [F, D], one an expert
  kExpertUp,     // [F, D]
  kExpertDown,   // [D, F]
  kSharedGate,   // [Fs, D]
  kSharedUp,     // [Fs, D]
  kSharedDown,   // [D, Fs]
  kFinalNorm,    // [D]
  kHead,         // [V, D]

  kAttnNormBias,      // [D]
  kQueryBias,         // [H*Q]
  kKeyBias,           // [G*Q]
  kValueBias,         // [G*Q]
  kAttnOutBias,       // [D]
  kQueryNorm,         // [Q] or [H*Q]
  kKeyNorm,           // [Q] or [G*Q]
  kSinks,             // [H], logits of the attention sinks
  kFfnNormBias,       // [D]
  kRouterBias,        // [E]
  kExpertGateBias,    // [F], one an expert
  kExpertUpBias,      // [F]
  kExpertDownBias,    // [D]
  kSharedGateBias,    // [Fs]
  kSharedUpBias,      // [Fs]
  kSharedDownBias,    // [D]
  kSharedExpertGate,  // [1, D], the gate on the shared expert's output
  kFinalNormBias,     // [D]
  kHeadBias,          // [V]

  // Latent attention; R the latent's width, Qr the rotary part of a head, Qn the rest, first Qr.
  kQueryDown,      // [Rq, D]
  kQueryDownBias,  // [Rq]
  kQueryDownNorm,  // [Rq]
  kQueryUp,        // [H*(Qr + Qn), Rq]
  kKvDown,         // [R + Qr, D]: the latent, then the rotary key
  kKvDownBias,     // [R + Qr]
  kKvDownNorm,     // [R]
  kKeyUp,          // [R, Qn], one a head (`expert` counts heads): from a query to the latent
  kValueUp,        // [Qv, R], one a head: from the latent to the head's value
};

struct ParamId {
  Role role = Role::kEmbedding;
  int layer = -1;
  int expert = -1;  // or head, for the maps of latent attention
  bool operator==(const ParamId&) const = default;
};

// "layer 3, expert 7, w_gate": for messages.
std::string describe(const ParamId& id);

struct ParamSpec {
  ParamId id;
  Shape shape;
  bool decay = false;       // weight decay applies (matrices, not norms)
  bool trained = true;      // false: changed by other rules than gradients
  std::int64_t offset = 0;  // elements before it in the flat arrays
};

class ParameterSet {
 public:
  // Appends a weight; returns its index.
  int add(ParamId id, Shape shape, bool decay, bool trained = true);
  const std::vector<ParamSpec>& specs() const { return specs_; }
  std::int64_t count() const { return count_; }

  // Reserves the flat arrays (zero-filled): values, and gradients for training.
  void allocate(bool with_gradients);
  bool allocated() const { return values_.raw() != nullptr; }
  std::span<float> values() const { return values_.span<float>(); }
  std::span<float> gradients() const { return gradients_.span<float>(); }

  // `n_parts` weights from `index` on as one matrix, rows stacked (a vector is one row).
  MatrixView<float> value(int index, int n_parts = 1) const;
  MatrixView<float> gradient(int index, int n_parts = 1) const;

 private:
  MatrixView<float> view(const Tensor& flat, int index, int n_parts) const;

  std::vector<ParamSpec> specs_;
  std::int64_t count_ = 0;
  Tensor values_;
  Tensor gradients_;
};

// Where weights come from at load: a file, an initialiser, another model.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  // Fills `out` (rows = product of all but the last dimension of spec.shape) completely, or throws.
  virtual void read(const ParamSpec& spec, MatrixView<float> out) = 0;

  // How exact a weight is: the type in which it is stored, or the smallest that holds it.
  virtual QuantType stored_type(const ParamSpec&) const { return QuantType::kF32; }
  // The type of a weight that is stored as rows of blocks along its last dimension and can be had
  // as they are; nothing for any other. `read` serves these weights as well.
  virtual std::optional<QuantType> block_type(const ParamSpec&) const { return std::nullopt; }
  // Fills `out` with all rows, rows x quant_bytes(block_type, columns) bytes, or throws. Only for
  // weights that have a block_type; called from several threads at once.
  virtual void read_blocks(const ParamSpec& spec, std::span<std::byte> out);
};

}  // namespace conclave
