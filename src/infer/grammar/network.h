// The first form of a compiled grammar, with empty edges (Thompson's construction), and what is
// found out about it before they are worked away.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "infer/grammar/program.h"

namespace conclave::infer::grammar {

struct Program::Network {
  // Throws Error(kInvalidArgument) beyond `most_states`.
  Network(const Builder& builder, int most_states);

  struct State {
    std::vector<int> empty;
    std::vector<Edge> edges;
    std::vector<Call> calls;
  };
  std::vector<State> states;
  std::vector<int> starts, finals;  // of each rule; -1 where it has no body
  std::vector<int> rule_of_final;   // of each state, -1 for others

  // Cuts edges and calls from which no end can be reached. False: nor can it from `root`.
  bool trim(RuleId root);
  // Adds an empty edge beside each call of a rule that fits the empty text.
  void bypass_nullable();

 private:
  struct Task {
    ExprId expr;
    int from, to;
  };
  using ByteRange = std::pair<std::uint8_t, std::uint8_t>;
  using Tails = std::map<std::vector<ByteRange>, int>;

  int add_state();
  void expand(const Builder& builder, const Task& task, std::vector<Task>& tasks);
  void expand_repeat(const Expr& expr, const Task& task, std::vector<Task>& tasks);
  void add_bytes(const std::string& bytes, int from, int to);
  void add_chars(const text::CodePoints& chars, int from, int to);
  void add_sequence(std::vector<ByteRange> bytes, int from, int to, Tails& tails);
  std::vector<bool> productive_states() const;

  int most_states_;
};

}  // namespace conclave::infer::grammar
