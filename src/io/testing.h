// For tests only: deterministic damage to bytes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "base/rng.h"

namespace conclave::testing {

// Mutation number `n` of `seed_text`: a few flips, overwritten integers, cut, repeated or inserted
// pieces. The same arguments give the same bytes.
inline std::string mutate(const std::string& seed_text, std::uint64_t n) {
  const Rng rng(20260901, n);
  std::uint64_t counter = 0;
  const auto below = [&](std::uint64_t bound) { return rng.below(counter++, bound); };
  static constexpr std::uint64_t kEdges[] = {0,
                                             1,
                                             2,
                                             7,
                                             8,
                                             0x7f,
                                             0x80,
                                             0xff,
                                             0x7fff,
                                             0xffff,
                                             0x7fffffff,
                                             0x80000000,
                                             0xffffffff,
                                             0x100000000,
                                             0x7fffffffffffffff,
                                             0x8000000000000000,
                                             0xffffffffffffffff};
  std::string text = seed_text;
  const std::uint64_t rounds = 1 + below(4);
  for (std::uint64_t i = 0; i < rounds; ++i) {
    if (text.empty()) text = "x";
    const std::size_t at = below(text.size());
    const std::size_t length = 1 + below(std::min<std::uint64_t>(16, text.size() - at));
    switch (below(7)) {
      case 0:
        text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
        break;
      case 1:
        text[at] = static_cast<char>(below(256));
        break;
      case 2:
        text.resize(at);
        break;
      case 3:
        text.erase(at, length);
        break;
      case 4:
        text.insert(at, text.substr(below(text.size()), length));
        break;
      case 5: {  // a little-endian number of 4 or 8 bytes
        const std::uint64_t edge = kEdges[below(std::size(kEdges))];
        const std::size_t width = std::min<std::size_t>(below(2) != 0 ? 8 : 4, text.size() - at);
        for (std::size_t b = 0; b < width; ++b) text[at + b] = static_cast<char>(edge >> (8 * b));
        break;
      }
      default: {  // a number in digits
        std::size_t end = at;
        while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
        text.replace(at, end - at, std::to_string(kEdges[below(std::size(kEdges))]));
      }
    }
  }
  return text;
}

}  // namespace conclave::testing
