// Finds any of many strings in a text in one pass: of the matches that begin first the longest,
// then on behind it. Time is linear in the text whatever the strings (Aho and Corasick 1975,
// "Efficient String Matching", run from the end of the text so that it yields the longest match
// beginning at each place).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::text {

class PatternSet {
 public:
  struct Match {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
    std::uint32_t pattern = 0;  // index; of equal strings the first
  };

  PatternSet();
  // Empty strings are never found. Copies the strings.
  explicit PatternSet(std::span<const std::string> patterns);

  bool empty() const { return nodes_.size() == 1; }
  std::vector<Match> find(std::string_view text) const;
  // The longest match at each place where one begins, overlapping or not, in order.
  std::vector<Match> find_each(std::string_view text) const;

 private:
  static constexpr std::uint32_t kNone = 0xffffffffu;
  struct Node {
    std::uint32_t fail = 0;
    std::uint32_t pattern = kNone;  // longest pattern that this state ends with
    std::uint32_t size = 0;         // its bytes
  };
  struct Edge {
    std::uint64_t key = ~std::uint64_t{0};  // node << 8 | byte
    std::uint32_t to = 0;
  };
  std::size_t slot_of(std::uint32_t node, std::uint8_t byte) const;
  std::uint32_t child(std::uint32_t node, std::uint8_t byte) const;
  std::uint32_t step(std::uint32_t node, std::uint8_t byte) const;
  void build_failures(const std::vector<std::uint32_t>& parent,
                      const std::vector<std::uint8_t>& byte);

  std::uint64_t seed_;
  std::array<std::uint32_t, 256> from_root_{};
  std::vector<Node> nodes_;
  std::vector<Edge> edges_;  // open addressing
};

}  // namespace conclave::text
