// A deterministic pushdown machine for a Program, made as it is used. A configuration is a set of
// (state, stack) pairs; stacks that agree are one node of a graph (Tomita 1986, "Efficient
// Parsing for Natural Language", the graph-structured stack), nodes and configurations are numbered
// by their content, and the step from a configuration over a byte is remembered. So a text costs a
// table look-up a byte wherever something like it was read before, at whatever depth of nesting:
// what is equal gets the same number.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "infer/grammar/program.h"

namespace conclave::infer::grammar {

struct MachineLimits {
  int items = 4096;               // of one configuration
  std::int64_t work = 4'000'000;  // items looked at between two calls of reset_work()
  std::int64_t bytes = std::int64_t{128} << 20;  // of all that is remembered
};

class Machine {
 public:
  using ConfigId = int;
  static constexpr ConfigId kDead = -1;

  // Borrows the program.
  explicit Machine(const Program& program, const MachineLimits& limits = {});

  ConfigId start() const { return start_; }
  // The configuration behind a byte, or kDead. Throws Error(kInvalidArgument) beyond a limit.
  ConfigId step(ConfigId config, unsigned char byte) {
    const std::size_t at = index(config, program_.byte_class(byte));
    return next_[at] != kUnknown ? next_[at] : make_step(config, program_.byte_class(byte));
  }
  bool may_end(ConfigId config) const {
    return configs_[static_cast<std::size_t>(config)].accepting;
  }
  // Nothing can follow.
  bool must_end(ConfigId config) const {
    return configs_[static_cast<std::size_t>(config)].items.empty();
  }
  int configs() const { return static_cast<int>(configs_.size()); }
  std::int64_t bytes() const { return bytes_; }
  void reset_work() { work_ = 0; }

 private:
  static constexpr int kUnknown = -2;
  static constexpr int kBottom = 0;  // the stack of the root rule
  // State and node; or rule state to return to and the node below.
  using Pair = std::uint64_t;
  using Pairs = std::vector<Pair>;
  struct PairsHash {
    std::size_t operator()(const Pairs& pairs) const;
  };
  struct Config {
    Pairs items;  // sorted; states that read
    bool accepting = false;
  };

  static Pair pair(int state, int node) {
    return (static_cast<Pair>(static_cast<std::uint32_t>(state)) << 32) |
           static_cast<std::uint32_t>(node);
  }
  static int state_of(Pair p) { return static_cast<int>(p >> 32); }
  static int node_of(Pair p) { return static_cast<int>(p & 0xffffffffu); }
  std::size_t index(ConfigId config, int byte_class) const {
    return static_cast<std::size_t>(config) * static_cast<std::size_t>(program_.classes()) +
           static_cast<std::size_t>(byte_class);
  }

  ConfigId make_step(ConfigId config, int byte_class);
  ConfigId close(Pairs moved);
  void add_calls(std::vector<std::pair<int, Pairs>>& pending, Pairs& items);
  void count_work(std::size_t n);
  int node_number(Pairs callers);
  ConfigId config_number(Pairs items, bool accepting);

  const Program& program_;
  MachineLimits limits_;
  std::vector<Pairs> nodes_;  // callers, sorted
  std::unordered_map<Pairs, int, PairsHash> node_numbers_, config_numbers_;
  std::vector<Config> configs_;
  std::vector<ConfigId> next_;  // configs x classes
  std::int64_t work_ = 0, bytes_ = 0;
  ConfigId start_ = kDead;
};

}  // namespace conclave::infer::grammar
