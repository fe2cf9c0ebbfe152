// A grammar compiled to a recursive transition network over bytes: each rule is a nondeterministic
// automaton whose edges are ranges of bytes or calls of rules. Empty edges are worked away, what
// can never be completed is cut off, and left recursion is refused, so that from every state that
// can be reached some text completes the whole.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "infer/grammar/builder.h"

namespace conclave::infer::grammar {

struct ProgramLimits {
  int states = 200'000;
  int closure = 2'000'000;  // entries of all states' closures
};

class Program {
 public:
  struct Edge {
    std::uint8_t low = 0, high = 0;  // both included
    int target = 0;
  };
  struct Call {
    RuleId rule = 0;
    int back = 0;  // state after it
  };
  // What can be done at a state without reading anything.
  struct Closure {
    std::vector<int> readers;  // states with byte edges
    std::vector<Call> calls;
    bool final = false;  // the rule may end here
    bool tail() const { return final && readers.empty() && calls.empty(); }
  };

  // Throws Error(kInvalidArgument): beyond a limit, left recursion (the rule is named), nothing
  // fits the grammar.
  Program(const Builder& builder, RuleId root, const ProgramLimits& limits = {});

  RuleId root() const { return root_; }
  int start(RuleId rule) const { return starts_[static_cast<std::size_t>(rule)]; }
  // Callers have a lower rank than what they call before reading anything.
  int rank(RuleId rule) const { return ranks_[static_cast<std::size_t>(rule)]; }
  const Closure& closure(int state) const { return closures_[static_cast<std::size_t>(state)]; }
  const std::vector<Edge>& edges(int state) const {
    return edges_[static_cast<std::size_t>(state)];
  }

  // Bytes that no edge tells apart share a class.
  int classes() const { return n_classes_; }
  int byte_class(unsigned char byte) const { return byte_class_[byte]; }
  unsigned char class_byte(int c) const { return class_byte_[static_cast<std::size_t>(c)]; }

 private:
  struct Network;
  void set_closures(const Network& network, const ProgramLimits& limits);
  void set_ranks(const Builder& builder);
  void set_classes();

  RuleId root_;
  std::vector<int> starts_, ranks_;
  std::vector<std::vector<Edge>> edges_;
  std::vector<Closure> closures_;
  int n_classes_ = 0;
  std::array<std::uint8_t, 256> byte_class_{};
  std::vector<unsigned char> class_byte_;
};

}  // namespace conclave::infer::grammar
