#include "infer/grammar/network.h"

#include <algorithm>

#include "base/error.h"

namespace conclave::infer::grammar {

namespace {

// The ranges of code points whose UTF-8 has one length.
constexpr std::pair<char32_t, char32_t> kLengths[] = {
    {0, 0x7f}, {0x80, 0x7ff}, {0x800, 0xffff}, {0x10000, 0x10ffff}};

std::vector<std::uint8_t> utf8_bytes(char32_t c, std::size_t length) {
  std::vector<std::uint8_t> bytes(length);
  for (std::size_t i = length; i-- > 1; c >>= 6)
    bytes[i] = static_cast<std::uint8_t>(0x80 | (c & 0x3f));
  constexpr std::uint8_t kLead[] = {0, 0, 0xc0, 0xe0, 0xf0};
  bytes[0] = static_cast<std::uint8_t>(kLead[length] | c);
  return bytes;
}

}  // namespace

Program::Network::Network(const Builder& builder, int most_states) : most_states_(most_states) {
  for (const Builder::Rule& rule : builder.rules()) {
    starts.push_back(rule.body < 0 ? -1 : add_state());
    finals.push_back(rule.body < 0 ? -1 : add_state());
  }
  std::vector<Task> tasks;
  for (std::size_t r = 0; r < builder.rules().size(); ++r) {
    if (starts[r] < 0) continue;
    tasks.push_back({builder.rules()[r].body, starts[r], finals[r]});
    while (!tasks.empty()) {
      const Task task = tasks.back();
      tasks.pop_back();
      expand(builder, task, tasks);
    }
  }
  rule_of_final.assign(states.size(), -1);
  for (std::size_t r = 0; r < finals.size(); ++r) {
    if (finals[r] >= 0) rule_of_final[static_cast<std::size_t>(finals[r])] = static_cast<int>(r);
  }
}

int Program::Network::add_state() {
  if (static_cast<int>(states.size()) >= most_states_) {
    fail(ErrorKind::kInvalidArgument,
         "the grammar is too large: more than {} states (smaller counts of repetitions help)",
         most_states_);
  }
  states.emplace_back();
  return static_cast<int>(states.size()) - 1;
}

void Program::Network::expand(const Builder& builder, const Task& task, std::vector<Task>& tasks) {
  const Expr& expr = builder.expr(task.expr);
  switch (expr.op) {
    case Expr::Op::kBytes:
      add_bytes(expr.bytes, task.from, task.to);
      break;
    case Expr::Op::kChars:
      add_chars(expr.chars, task.from, task.to);
      break;
    case Expr::Op::kSeq: {
      int from = task.from;
      if (expr.children.empty()) states[static_cast<std::size_t>(from)].empty.push_back(task.to);
      for (std::size_t i = 0; i < expr.children.size(); ++i) {
        const int to = i + 1 == expr.children.size() ? task.to : add_state();
        tasks.push_back({expr.children[i], from, to});
        from = to;
      }
      break;
    }
    case Expr::Op::kAlt:
      for (const ExprId child : expr.children) tasks.push_back({child, task.from, task.to});
      break;
    case Expr::Op::kRepeat:
      expand_repeat(expr, task, tasks);
      break;
    case Expr::Op::kCall:
      states[static_cast<std::size_t>(task.from)].calls.push_back({expr.rule, task.to});
      break;
  }
}

void Program::Network::expand_repeat(const Expr& expr, const Task& task, std::vector<Task>& tasks) {
  const ExprId child = expr.children[0];
  // A state of its own on both sides: loops of neighbours must not flow into one another.
  int at = add_state();
  states[static_cast<std::size_t>(task.from)].empty.push_back(at);
  for (int i = 0; i < expr.min; ++i) {
    const int next = add_state();
    tasks.push_back({child, at, next});
    at = next;
  }
  if (expr.max < 0) {
    const int loop = add_state();
    states[static_cast<std::size_t>(at)].empty.push_back(loop);
    tasks.push_back({child, loop, loop});
    at = loop;
  }
  for (int i = expr.min; i < expr.max; ++i) {
    states[static_cast<std::size_t>(at)].empty.push_back(task.to);
    const int next = add_state();
    tasks.push_back({child, at, next});
    at = next;
  }
  states[static_cast<std::size_t>(at)].empty.push_back(task.to);
}

void Program::Network::add_bytes(const std::string& bytes, int from, int to) {
  if (bytes.empty()) states[static_cast<std::size_t>(from)].empty.push_back(to);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const int next = i + 1 == bytes.size() ? to : add_state();
    const auto byte = static_cast<std::uint8_t>(bytes[i]);
    states[static_cast<std::size_t>(from)].edges.push_back({byte, byte, next});
    from = next;
  }
}

// A range of code points is a few products of ranges of bytes: where first and last byte differ,
// what lies between them is full in all later bytes.
void Program::Network::add_chars(const text::CodePoints& chars, int from, int to) {
  Tails tails;
  std::vector<std::pair<char32_t, char32_t>> ranges;
  for (std::size_t n = 1; n <= 4; ++n) {
    ranges.clear();
    for (const text::CodeRange& r : chars) {
      const char32_t low = std::max(r.first, kLengths[n - 1].first);
      const char32_t high = std::min(r.last, kLengths[n - 1].second);
      if (low <= high) ranges.emplace_back(low, high);
    }
    while (!ranges.empty()) {
      const auto [low, high] = ranges.back();
      ranges.pop_back();
      bool cut = false;
      for (std::size_t tail = 1; tail < n && !cut; ++tail) {
        const char32_t mask = (char32_t{1} << (6 * tail)) - 1;
        if ((low & ~mask) == (high & ~mask)) continue;
        if ((low & mask) != 0) {
          ranges.emplace_back(low, low | mask);
          ranges.emplace_back((low | mask) + 1, high);
          cut = true;
        } else if ((high & mask) != mask) {
          ranges.emplace_back(low, (high & ~mask) - 1);
          ranges.emplace_back(high & ~mask, high);
          cut = true;
        }
      }
      if (cut) continue;
      const auto a = utf8_bytes(low, n), b = utf8_bytes(high, n);
      std::vector<ByteRange> bytes;
      for (std::size_t i = 0; i < n; ++i) bytes.emplace_back(a[i], b[i]);
      add_sequence(std::move(bytes), from, to, tails);
    }
  }
}

// Equal endings share their states.
void Program::Network::add_sequence(std::vector<ByteRange> bytes, int from, int to, Tails& tails) {
  int target = to;
  std::vector<ByteRange> ending;
  for (std::size_t i = bytes.size(); i-- > 1;) {
    ending.insert(ending.begin(), bytes[i]);
    const auto [place, is_new] = tails.try_emplace(ending, -1);
    if (is_new) {
      place->second = add_state();
      states[static_cast<std::size_t>(place->second)].edges.push_back(
          {bytes[i].first, bytes[i].second, target});
    }
    target = place->second;
  }
  states[static_cast<std::size_t>(from)].edges.push_back({bytes[0].first, bytes[0].second, target});
}

// States from which their rule's end can be reached: a walk backwards from the ends, on which a
// call counts once what it calls is known to end.
std::vector<bool> Program::Network::productive_states() const {
  struct Backward {
    int from;
    RuleId call;  // -1: none
  };
  std::vector<std::vector<Backward>> backward(states.size());
  for (std::size_t s = 0; s < states.size(); ++s) {
    const int from = static_cast<int>(s);
    for (const int to : states[s].empty)
      backward[static_cast<std::size_t>(to)].push_back({from, -1});
    for (const Edge& e : states[s].edges)
      backward[static_cast<std::size_t>(e.target)].push_back({from, -1});
    for (const Call& c : states[s].calls) {
      if (starts[static_cast<std::size_t>(c.rule)] < 0) continue;
      backward[static_cast<std::size_t>(c.back)].push_back({from, c.rule});
    }
  }
  std::vector<bool> productive(states.size(), false);
  std::vector<int> rule_of_start(states.size(), -1);
  std::vector<std::vector<int>> waiting(starts.size());  // states before a call
  for (std::size_t r = 0; r < starts.size(); ++r) {
    if (starts[r] >= 0) rule_of_start[static_cast<std::size_t>(starts[r])] = static_cast<int>(r);
  }
  std::vector<int> work;
  const auto reach = [&](int state) {
    if (productive[static_cast<std::size_t>(state)]) return;
    productive[static_cast<std::size_t>(state)] = true;
    work.push_back(state);
  };
  for (const int f : finals) {
    if (f >= 0) reach(f);
  }
  while (!work.empty()) {
    const int state = work.back();
    work.pop_back();
    for (const Backward& b : backward[static_cast<std::size_t>(state)]) {
      const bool open =
          b.call < 0 ||
          productive[static_cast<std::size_t>(starts[static_cast<std::size_t>(b.call)])];
      if (open) {
        reach(b.from);
      } else {
        waiting[static_cast<std::size_t>(b.call)].push_back(b.from);
      }
    }
    const int rule = rule_of_start[static_cast<std::size_t>(state)];
    if (rule < 0) continue;
    for (const int from : waiting[static_cast<std::size_t>(rule)]) reach(from);
  }
  return productive;
}

bool Program::Network::trim(RuleId root) {
  const std::vector<bool> productive = productive_states();
  const auto dead = [&](int state) { return !productive[static_cast<std::size_t>(state)]; };
  for (State& state : states) {
    std::erase_if(state.empty, dead);
    std::erase_if(state.edges, [&](const Edge& e) { return dead(e.target); });
    std::erase_if(state.calls, [&](const Call& c) {
      const int start = starts[static_cast<std::size_t>(c.rule)];
      return start < 0 || dead(start) || dead(c.back);
    });
  }
  const int start = starts[static_cast<std::size_t>(root)];
  return start >= 0 && !dead(start);
}

void Program::Network::bypass_nullable() {
  // States that a rule's start reaches without reading; a call waits for its rule to be nullable.
  std::vector<bool> nullable(starts.size(), false);
  std::vector<bool> reached(states.size(), false);  // a state belongs to one rule
  std::vector<std::vector<int>> waiting(starts.size());
  std::vector<int> work;
  const auto reach = [&](int state) {
    if (reached[static_cast<std::size_t>(state)]) return;
    reached[static_cast<std::size_t>(state)] = true;
    work.push_back(state);
  };
  for (const int s : starts) {
    if (s >= 0) reach(s);
  }
  while (!work.empty()) {
    const int state = work.back();
    work.pop_back();
    const State& s = states[static_cast<std::size_t>(state)];
    for (const int to : s.empty) reach(to);
    for (const Call& c : s.calls) {
      if (nullable[static_cast<std::size_t>(c.rule)]) {
        reach(c.back);
      } else {
        waiting[static_cast<std::size_t>(c.rule)].push_back(c.back);
      }
    }
    const int rule = rule_of_final[static_cast<std::size_t>(state)];
    if (rule < 0) continue;
    nullable[static_cast<std::size_t>(rule)] = true;
    for (const int back : waiting[static_cast<std::size_t>(rule)]) reach(back);
  }
  for (State& state : states) {
    for (const Call& c : state.calls) {
      if (nullable[static_cast<std::size_t>(c.rule)]) state.empty.push_back(c.back);
    }
  }
}

}  // namespace conclave::infer::grammar
