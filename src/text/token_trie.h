// A trie over the bytes of tokens: all tokens that a text begins with, shortest first. Nodes are
// numbered level by level, so that the children of a node are neighbours: 9 bytes a node.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace conclave::text {

class TokenTrie {
 public:
  static constexpr std::uint32_t kRoot = 0;
  static constexpr std::uint32_t kNone = 0xffffffffu;

  TokenTrie() = default;
  // Of equal tokens the last one's value counts. Values are not negative.
  explicit TokenTrie(std::vector<std::pair<std::string_view, std::int32_t>> tokens);

  // The node behind a byte, or kNone.
  std::uint32_t step(std::uint32_t node, char byte) const;
  // The node behind several bytes, or kNone.
  std::uint32_t walk(std::uint32_t node, std::string_view bytes) const;
  // The value of the token that ends at a node, or -1.
  std::int32_t value(std::uint32_t node) const { return values_[node]; }
  bool empty() const { return first_child_.size() <= 1; }
  // Bytes of the longest token.
  std::size_t longest() const { return longest_; }

 private:
  std::vector<std::uint32_t> first_child_;  // nodes + 1
  std::vector<unsigned char> label_;        // of the edge that leads to a node
  std::vector<std::int32_t> values_;
  std::size_t longest_ = 0;
};

}  // namespace conclave::text
