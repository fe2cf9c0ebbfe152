#include "text/pattern_set.h"

#include <algorithm>
#include <numeric>

#include "text/hash.h"

namespace conclave::text {

PatternSet::PatternSet() : seed_(random_seed()), nodes_(1), edges_(16) {}

std::size_t PatternSet::slot_of(std::uint32_t node, std::uint8_t byte) const {
  const std::uint64_t key = static_cast<std::uint64_t>(node) << 8 | byte;
  const std::size_t mask = edges_.size() - 1;
  std::size_t slot = hash_number(key, seed_) & mask;
  while (edges_[slot].key != key && edges_[slot].key != ~std::uint64_t{0}) slot = (slot + 1) & mask;
  return slot;
}

std::uint32_t PatternSet::child(std::uint32_t node, std::uint8_t byte) const {
  if (node == 0) return from_root_[byte];
  return edges_[slot_of(node, byte)].to;
}

std::uint32_t PatternSet::step(std::uint32_t node, std::uint8_t byte) const {
  while (true) {
    const std::uint32_t next = child(node, byte);
    if (next != 0 || node == 0) return next;
    node = nodes_[node].fail;
  }
}

PatternSet::PatternSet(std::span<const std::string> patterns) : PatternSet() {
  std::size_t bytes = 0;
  for (const std::string& pattern : patterns) bytes += pattern.size();
  std::size_t slots = 16;
  while (slots < 2 * bytes) slots *= 2;
  edges_.assign(slots, {});
  std::vector<std::uint32_t> parent{0};
  std::vector<std::uint8_t> byte{0};
  for (std::uint32_t index = 0; index < patterns.size(); ++index) {
    const std::string& pattern = patterns[index];
    if (pattern.empty()) continue;
    std::uint32_t node = 0;
    for (auto at = pattern.rbegin(); at != pattern.rend(); ++at) {
      const auto c = static_cast<std::uint8_t>(*at);
      std::uint32_t next = child(node, c);
      if (next == 0) {
        next = static_cast<std::uint32_t>(nodes_.size());
        nodes_.emplace_back();
        parent.push_back(node);
        byte.push_back(c);
        if (node == 0) {
          from_root_[c] = next;
        } else {
          edges_[slot_of(node, c)] = {static_cast<std::uint64_t>(node) << 8 | c, next};
        }
      }
      node = next;
    }
    if (nodes_[node].pattern == kNone) {
      nodes_[node].pattern = index;
      nodes_[node].size = static_cast<std::uint32_t>(pattern.size());
    }
  }
  build_failures(parent, byte);
}

// Nodes were made parents first, but not level by level; a node's failure link needs those of all
// shallower nodes.
void PatternSet::build_failures(const std::vector<std::uint32_t>& parent,
                                const std::vector<std::uint8_t>& byte) {
  std::vector<std::uint32_t> depth(nodes_.size());
  for (std::uint32_t node = 1; node < nodes_.size(); ++node) depth[node] = depth[parent[node]] + 1;
  std::vector<std::uint32_t> order(nodes_.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return depth[a] < depth[b]; });
  for (const std::uint32_t node : order) {
    if (node == 0) continue;
    Node& what = nodes_[node];
    if (depth[node] > 1) what.fail = step(nodes_[parent[node]].fail, byte[node]);
    if (what.pattern == kNone) {
      what.pattern = nodes_[what.fail].pattern;
      what.size = nodes_[what.fail].size;
    }
  }
}

std::vector<PatternSet::Match> PatternSet::find_each(std::string_view text) const {
  std::vector<Match> matches;
  if (empty()) return matches;
  std::uint32_t node = 0;
  for (std::size_t i = text.size(); i-- > 0;) {
    node = step(node, static_cast<std::uint8_t>(text[i]));
    if (nodes_[node].pattern != kNone) {
      const auto begin = static_cast<std::uint32_t>(i);
      matches.push_back({begin, begin + nodes_[node].size, nodes_[node].pattern});
    }
  }
  std::reverse(matches.begin(), matches.end());
  return matches;
}

std::vector<PatternSet::Match> PatternSet::find(std::string_view text) const {
  std::vector<Match> matches = find_each(text);
  std::uint32_t taken = 0;
  std::erase_if(matches, [&taken](const Match& match) {
    if (match.begin < taken) return true;
    taken = match.end;
    return false;
  });
  return matches;
}

}  // namespace conclave::text
