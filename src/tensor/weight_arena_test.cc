#include "tensor/weight_arena.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <utility>

namespace conclave {
namespace {

TEST(WeightArena, PiecesAreAlignedApartAndUsable) {
  WeightArena arena;
  std::vector<std::pair<std::byte*, std::size_t>> pieces;
  for (std::size_t bytes : {1u, 64u, 65u, 3u << 20, 0u, 70u << 20, 100u, 63u << 20, 5u}) {
    pieces.emplace_back(arena.take(bytes), bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(pieces.back().first) % 64, 0u);
    // The ends are enough to see an overlap, and touch few pages.
    if (bytes > 0) {
      pieces.back().first[0] = static_cast<std::byte>(pieces.size());
      pieces.back().first[bytes - 1] = static_cast<std::byte>(pieces.size());
    }
  }
  std::size_t least = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const auto& [data, bytes] = pieces[i];
    least += bytes;
    if (bytes == 0) continue;
    EXPECT_EQ(data[0], static_cast<std::byte>(i + 1));
    EXPECT_EQ(data[bytes - 1], static_cast<std::byte>(i + 1));
  }
  EXPECT_GE(arena.bytes(), least);
  EXPECT_LT(arena.bytes(), least + 64 * pieces.size());
}

TEST(WeightArena, TooMuchIsAnError) {
  WeightArena arena;
  EXPECT_THROW(arena.take(SIZE_MAX - 5), Error);
}

}  // namespace
}  // namespace conclave
