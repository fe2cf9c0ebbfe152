#include "text/token_trie.h"

#include <algorithm>

namespace conclave::text {

TokenTrie::TokenTrie(std::vector<std::pair<std::string_view, std::int32_t>> tokens) {
  std::stable_sort(tokens.begin(), tokens.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  // A node is a range of tokens that agree in their first `depth` bytes; those of a level are laid
  // out before those of the next.
  struct Range {
    std::size_t begin;
    std::size_t end;
  };
  std::vector<Range> level{{0, tokens.size()}};
  label_.push_back(0);
  for (std::size_t depth = 0; !level.empty(); ++depth) {
    std::vector<Range> next;
    for (Range range : level) {
      std::int32_t value = -1;
      while (range.begin < range.end && tokens[range.begin].first.size() == depth) {
        value = tokens[range.begin++].second;
        longest_ = depth;
      }
      values_.push_back(value);
      first_child_.push_back(static_cast<std::uint32_t>(label_.size()));
      while (range.begin < range.end) {
        const char byte = tokens[range.begin].first[depth];
        std::size_t end = range.begin + 1;
        while (end < range.end && tokens[end].first[depth] == byte) ++end;
        label_.push_back(static_cast<unsigned char>(byte));
        next.push_back({range.begin, end});
        range.begin = end;
      }
    }
    level = std::move(next);
  }
  first_child_.push_back(static_cast<std::uint32_t>(label_.size()));
}

std::uint32_t TokenTrie::step(std::uint32_t node, char byte) const {
  const auto begin = label_.begin() + first_child_[node];
  const auto end = label_.begin() + first_child_[node + 1];
  const auto wanted = static_cast<unsigned char>(byte);
  const auto found = std::lower_bound(begin, end, wanted);
  if (found == end || *found != wanted) return kNone;
  return static_cast<std::uint32_t>(found - label_.begin());
}

std::uint32_t TokenTrie::walk(std::uint32_t node, std::string_view bytes) const {
  for (const char byte : bytes) {
    if (node == kNone) return kNone;
    node = step(node, byte);
  }
  return node;
}

}  // namespace conclave::text
