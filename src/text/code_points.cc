#include "text/code_points.h"

#include <algorithm>
#include <array>

namespace conclave::text {

CodePoints normalized(CodePoints ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const CodeRange& a, const CodeRange& b) { return a.first < b.first; });
  CodePoints out;
  for (const CodeRange& range : ranges) {
    if (!out.empty() && range.first <= out.back().last + 1) {
      out.back().last = std::max(out.back().last, range.last);
    } else {
      out.push_back(range);
    }
  }
  return out;
}

CodePoints complement(std::span<const CodeRange> set) {
  CodePoints out;
  char32_t next = 0;
  for (const CodeRange& range : set) {
    if (range.first > next) out.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLastCodePoint) out.push_back({next, kLastCodePoint});
  return out;
}

CodePoints intersection(std::span<const CodeRange> a, std::span<const CodeRange> b) {
  CodePoints out;
  std::size_t i = 0;
  std::size_t j = 0;
  while (i < a.size() && j < b.size()) {
    const char32_t first = std::max(a[i].first, b[j].first);
    const char32_t last = std::min(a[i].last, b[j].last);
    if (first <= last) out.push_back({first, last});
    if (a[i].last < b[j].last) {
      ++i;
    } else {
      ++j;
    }
  }
  return out;
}

bool contains(std::span<const CodeRange> set, char32_t value) {
  const auto after = std::upper_bound(
      set.begin(), set.end(), value,
      [](char32_t wanted, const CodeRange& range) { return wanted < range.first; });
  return after != set.begin() && value <= std::prev(after)->last;
}

std::span<const CodeRange> white_space() {
  static constexpr std::array<CodeRange, 10> kRanges{{{0x9, 0xd},
                                                      {0x20, 0x20},
                                                      {0x85, 0x85},
                                                      {0xa0, 0xa0},
                                                      {0x1680, 0x1680},
                                                      {0x2000, 0x200a},
                                                      {0x2028, 0x2029},
                                                      {0x202f, 0x202f},
                                                      {0x205f, 0x205f},
                                                      {0x3000, 0x3000}}};
  return kRanges;
}

}  // namespace conclave::text
