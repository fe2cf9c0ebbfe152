#include "infer/grammar/program.h"

#include <algorithm>

#include "base/error.h"
#include "infer/grammar/network.h"

namespace conclave::infer::grammar {

Program::Program(const Builder& builder, RuleId root, const ProgramLimits& limits) : root_(root) {
  Network network(builder, limits.states);
  if (!network.trim(root)) {
    fail(ErrorKind::kInvalidArgument, "{}",
         builder.of_schema()
             ? "no value fits the JSON schema: its limits contradict one another (a minimum above "
               "a maximum, a required member that is false), or it requires a value within itself "
               "without end"
             : "no text fits the grammar: every way through 'root' comes back to a rule that it "
               "has not left, or meets an empty choice; one way must end");
  }
  network.bypass_nullable();
  set_closures(network, limits);
  edges_.reserve(network.states.size());
  for (Network::State& state : network.states) edges_.push_back(std::move(state.edges));
  starts_ = std::move(network.starts);
  set_ranks(builder);
  set_classes();
}

// Only for states that something leads to: starts, targets of edges, and states after calls.
void Program::set_closures(const Network& network, const ProgramLimits& limits) {
  const std::size_t n = network.states.size();
  std::vector<bool> entered(n, false);
  for (const int s : network.starts) {
    if (s >= 0) entered[static_cast<std::size_t>(s)] = true;
  }
  for (const Network::State& state : network.states) {
    for (const Edge& e : state.edges) entered[static_cast<std::size_t>(e.target)] = true;
    for (const Call& c : state.calls) entered[static_cast<std::size_t>(c.back)] = true;
  }
  closures_.resize(n);
  std::vector<int> seen(n, -1), work;
  std::int64_t entries = 0;
  for (std::size_t s = 0; s < n; ++s) {
    if (!entered[s]) continue;
    Closure& closure = closures_[s];
    work.push_back(static_cast<int>(s));
    seen[s] = static_cast<int>(s);
    while (!work.empty()) {
      const auto at = static_cast<std::size_t>(work.back());
      work.pop_back();
      const Network::State& state = network.states[at];
      if (!state.edges.empty()) closure.readers.push_back(static_cast<int>(at));
      closure.calls.insert(closure.calls.end(), state.calls.begin(), state.calls.end());
      closure.final = closure.final || network.rule_of_final[at] >= 0;
      entries += 1 + static_cast<std::int64_t>(state.calls.size());
      for (const int to : state.empty) {
        if (seen[static_cast<std::size_t>(to)] == static_cast<int>(s)) continue;
        seen[static_cast<std::size_t>(to)] = static_cast<int>(s);
        work.push_back(to);
      }
      if (entries > limits.closure) {
        fail(ErrorKind::kInvalidArgument,
             "the grammar is too large: more than {} ways to go on without reading",
             limits.closure);
      }
    }
  }
}

// An order of the rules in which each comes after those that call it before reading anything.
void Program::set_ranks(const Builder& builder) {
  const std::size_t n = starts_.size();
  std::vector<int> callers(n, 0);
  ranks_.assign(n, -1);
  const auto each_call = [&](std::size_t rule, auto&& visit) {
    if (starts_[rule] < 0) return;
    for (const Call& c : closure(starts_[rule]).calls) visit(static_cast<std::size_t>(c.rule));
  };
  for (std::size_t r = 0; r < n; ++r) each_call(r, [&](std::size_t callee) { ++callers[callee]; });
  std::vector<std::size_t> work;
  for (std::size_t r = 0; r < n; ++r) {
    if (callers[r] == 0) work.push_back(r);
  }
  int rank = 0;
  while (!work.empty()) {
    const std::size_t rule = work.back();
    work.pop_back();
    ranks_[rule] = rank++;
    each_call(rule, [&](std::size_t callee) {
      if (--callers[callee] == 0) work.push_back(callee);
    });
  }
  const auto left_recursive = std::find(ranks_.begin(), ranks_.end(), -1);
  if (left_recursive == ranks_.end()) return;
  fail(ErrorKind::kInvalidArgument,
       "the grammar is left-recursive: '{0}' leads to itself before anything is read; write "
       "'a' | {0} 'b' as 'a' ('b')*",
       builder.rules()[static_cast<std::size_t>(left_recursive - ranks_.begin())].name.substr(0,
                                                                                              100));
}

void Program::set_classes() {
  std::array<bool, 257> begins{};
  begins[0] = true;
  for (const auto& list : edges_) {
    for (const Edge& e : list) {
      begins[e.low] = true;
      begins[e.high + std::size_t{1}] = true;
    }
  }
  for (std::size_t b = 0; b < 256; ++b) {
    if (begins[b]) {
      ++n_classes_;
      class_byte_.push_back(static_cast<unsigned char>(b));
    }
    byte_class_[b] = static_cast<std::uint8_t>(n_classes_ - 1);
  }
}

}  // namespace conclave::infer::grammar
