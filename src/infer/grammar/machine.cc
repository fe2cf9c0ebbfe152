#include "infer/grammar/machine.h"

#include <algorithm>
#include <map>

#include "base/error.h"

namespace conclave::infer::grammar {

std::size_t Machine::PairsHash::operator()(const Pairs& pairs) const {
  std::uint64_t h = pairs.size();
  for (const Pair p : pairs) {
    h = (h ^ p) * 0x9E3779B97F4A7C15u;
    h ^= h >> 29;
  }
  return h;
}

Machine::Machine(const Program& program, const MachineLimits& limits)
    : program_(program), limits_(limits) {
  nodes_.emplace_back();  // kBottom
  start_ = close({pair(program.start(program.root()), kBottom)});
}

void Machine::count_work(std::size_t n) {
  work_ += static_cast<std::int64_t>(n);
  if (work_ > limits_.work) {
    fail(ErrorKind::kInvalidArgument,
         "the grammar is too ambiguous: one token takes more than {} steps", limits_.work);
  }
}

int Machine::node_number(Pairs callers) {
  const auto [place, is_new] = node_numbers_.try_emplace(callers, static_cast<int>(nodes_.size()));
  if (is_new) {
    bytes_ += 2 * static_cast<std::int64_t>(callers.size() * sizeof(Pair)) + 100;
    nodes_.push_back(std::move(callers));
  }
  return place->second;
}

Machine::ConfigId Machine::config_number(Pairs items, bool accepting) {
  Pairs key = items;
  key.push_back(accepting ? 1 : 0);
  const auto [place, is_new] = config_numbers_.try_emplace(std::move(key), configs());
  if (is_new && bytes_ > limits_.bytes) {
    config_numbers_.erase(place);
    fail(ErrorKind::kInvalidArgument, "the grammar takes more than {} bytes", limits_.bytes);
  }
  if (is_new) {
    const auto classes = static_cast<std::size_t>(program_.classes());
    bytes_ += static_cast<std::int64_t>(2 * items.size() * sizeof(Pair) + 150 + 4 * classes);
    next_.resize(next_.size() + classes, kUnknown);
    configs_.push_back({std::move(items), accepting});
  }
  return place->second;
}

Machine::ConfigId Machine::make_step(ConfigId config, int byte_class) {
  const unsigned char byte = program_.class_byte(byte_class);
  Pairs moved;
  const Pairs& items = configs_[static_cast<std::size_t>(config)].items;
  for (const Pair item : items) {
    const auto& edges = program_.edges(state_of(item));
    count_work(edges.size());
    for (const Program::Edge& e : edges) {
      if (byte >= e.low && byte <= e.high) moved.push_back(pair(e.target, node_of(item)));
    }
  }
  count_work(1);
  const ConfigId to = moved.empty() ? kDead : close(std::move(moved));
  next_[index(config, byte_class)] = to;
  return to;
}

// Rules in the order of their ranks: when one's turn comes, all its callers at this place are
// known.
void Machine::add_calls(std::vector<std::pair<int, Pairs>>& begun, Pairs& items) {
  std::map<int, std::pair<RuleId, Pairs>> pending;
  const auto call = [&](const Program::Call& c, int node) {
    auto& [rule, callers] = pending[program_.rank(c.rule)];
    rule = c.rule;
    // What only returns from there needs no place of its own: right recursion stays flat.
    if (node != kBottom && program_.closure(c.back).tail()) {
      const Pairs& below = nodes_[static_cast<std::size_t>(node)];
      callers.insert(callers.end(), below.begin(), below.end());
      count_work(below.size());
    } else {
      callers.push_back(pair(c.back, node));
      count_work(1);
    }
  };
  for (const auto& [state, nodes] : begun) {
    for (const Program::Call& c : program_.closure(state).calls) {
      for (const Pair node : nodes) call(c, static_cast<int>(node));
    }
  }
  while (!pending.empty()) {
    auto [rule, callers] = std::move(pending.begin()->second);
    pending.erase(pending.begin());
    std::sort(callers.begin(), callers.end());
    callers.erase(std::unique(callers.begin(), callers.end()), callers.end());
    const int node = node_number(std::move(callers));
    const Program::Closure& closure = program_.closure(program_.start(rule));
    for (const int reader : closure.readers) items.push_back(pair(reader, node));
    count_work(closure.readers.size());
    // That the rule may be empty, its callers know already.
    for (const Program::Call& c : closure.calls) call(c, node);
  }
}

Machine::ConfigId Machine::close(Pairs moved) {
  Pairs items;
  bool accepting = false;
  std::map<int, Pairs> callers;  // nodes of states that call
  std::sort(moved.begin(), moved.end());
  moved.erase(std::unique(moved.begin(), moved.end()), moved.end());
  std::unordered_map<Pair, bool> seen;
  const bool single = moved.size() == 1;
  if (!single) {
    for (const Pair p : moved) seen[p] = true;
  }
  while (!moved.empty()) {
    const Pair p = moved.back();
    moved.pop_back();
    const Program::Closure& closure = program_.closure(state_of(p));
    const int node = node_of(p);
    for (const int reader : closure.readers) items.push_back(pair(reader, node));
    count_work(closure.readers.size() + 1);
    if (!closure.calls.empty()) callers[state_of(p)].push_back(static_cast<Pair>(node));
    if (!closure.final) continue;
    if (node == kBottom) {
      accepting = true;
      continue;
    }
    for (const Pair back : nodes_[static_cast<std::size_t>(node)]) {
      count_work(1);
      if (seen.try_emplace(back, true).second) moved.push_back(back);
    }
  }
  std::vector<std::pair<int, Pairs>> begun(callers.begin(), callers.end());
  if (!begun.empty()) add_calls(begun, items);
  std::sort(items.begin(), items.end());
  items.erase(std::unique(items.begin(), items.end()), items.end());
  if (items.size() > static_cast<std::size_t>(limits_.items)) {
    fail(ErrorKind::kInvalidArgument,
         "the grammar is too ambiguous: more than {} ways to read the same text", limits_.items);
  }
  return config_number(std::move(items), accepting);
}

}  // namespace conclave::infer::grammar
