// Sets of code points as sorted, disjoint, non-adjacent ranges, with the algebra that character
// classes need.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace conclave::text {

inline constexpr char32_t kLastCodePoint = 0x10ffff;

struct CodeRange {
  char32_t first = 0;
  char32_t last = 0;  // inclusive
  friend bool operator==(const CodeRange&, const CodeRange&) = default;
};

using CodePoints = std::vector<CodeRange>;

// Sorts and joins; ranges may come in any order and overlap.
CodePoints normalized(CodePoints ranges);
CodePoints complement(std::span<const CodeRange> set);
CodePoints intersection(std::span<const CodeRange> a, std::span<const CodeRange> b);
bool contains(std::span<const CodeRange> set, char32_t value);

// Characters that are \s: Unicode's White_Space.
std::span<const CodeRange> white_space();
inline bool is_white_space(char32_t value) {
  if (value < 0x80) return value == ' ' || (value >= 9 && value <= 13);
  return contains(white_space(), value);
}

}  // namespace conclave::text
