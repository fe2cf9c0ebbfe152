// A grammar that answers are held to, for one tokenizer: which tokens may come next. Shared by any
// number of answers at once (it locks); what one answer found out serves all of them.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "infer/grammar/machine.h"
#include "infer/grammar/program.h"
#include "infer/grammar/token_table.h"

namespace conclave::infer::grammar {

// Bit i of word w: token 64 w + i may come next.
struct TokenMask {
  std::vector<std::uint64_t> words;
  bool empty = true;

  bool has(std::int32_t id) const {
    const auto i = static_cast<std::size_t>(id);
    return id >= 0 && i / 64 < words.size() && ((words[i / 64] >> (i % 64)) & 1) != 0;
  }
};

struct ConstraintLimits {
  ProgramLimits program;
  MachineLimits machine;
  std::int64_t machine_bytes = std::int64_t{48} << 20;  // of remembered steps
  std::int64_t mask_bytes = std::int64_t{32} << 20;     // of remembered masks
};

class Constraint {
 public:
  // Shares the table. Throws as Program does.
  Constraint(const Builder& builder, RuleId root, std::shared_ptr<const TokenTable> tokens,
             const ConstraintLimits& limits = {});

  const TokenTable& tokens() const { return *tokens_; }
  // Bytes that it holds at the moment.
  std::int64_t bytes() const;

 private:
  friend class ConstraintState;
  struct Place {  // of an answer
    Machine::ConfigId config = Machine::kDead;
    std::uint64_t generation = 0;
  };
  using MaskPtr = std::shared_ptr<const TokenMask>;

  void restore(Place& place, const std::string& text);
  Machine::ConfigId walk(Machine::ConfigId config, const std::string& bytes);
  MaskPtr make_mask(Machine::ConfigId config, bool first);

  std::shared_ptr<const TokenTable> tokens_;
  ConstraintLimits limits_;
  Program program_;
  mutable std::mutex mutex_;  // of what follows
  std::unique_ptr<Machine> machine_;
  std::uint64_t generation_ = 1;  // of the machine: numbers of older ones mean nothing
  std::unordered_map<Machine::ConfigId, MaskPtr> masks_;
  MaskPtr first_mask_;
  std::vector<Machine::ConfigId> path_;  // of make_mask, by depth
};

// Where one answer is. Throws Error(kInvalidArgument) where the grammar takes too long or too much
// memory, kUnsupported where no token of the vocabulary can go on.
class ConstraintState {
 public:
  explicit ConstraintState(std::shared_ptr<Constraint> constraint);

  // Never empty: end-of-text tokens are in it where the grammar may end.
  std::shared_ptr<const TokenMask> mask();
  // A token of the mask.
  void accept(std::int32_t id);
  // Nothing but the end can follow.
  bool must_end() const { return must_end_; }
  bool may_end() const { return may_end_; }

 private:
  std::shared_ptr<Constraint> constraint_;
  Constraint::Place place_;
  std::string text_;  // accepted so far, to find the place again
  bool first_ = true, must_end_ = false, may_end_ = false;
};

}  // namespace conclave::infer::grammar
