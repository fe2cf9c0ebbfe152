#include "base/rng.h"

#include <gtest/gtest.h>

#include <cmath>

namespace conclave {
namespace {

TEST(Rng, MatchesPublishedVectors) {  // Random123's known-answer file, philox4x32 10 rounds
  const auto zero = Rng(0, 0).block(0);
  EXPECT_EQ(zero,
            (std::array<std::uint32_t, 4>{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  const auto ones = Rng(~0ull, ~0ull).block(~0ull);
  EXPECT_EQ(ones,
            (std::array<std::uint32_t, 4>{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
}

TEST(Rng, MomentsOfUniformAndNormal) {
  const Rng rng = Rng(7).fork(3);
  double sum = 0, sum_n = 0, square_n = 0;
  const int n = 200000;
  for (int i = 0; i < n; ++i) {
    const double u = rng.uniform(static_cast<std::uint64_t>(i));
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
    const double z = rng.normal(static_cast<std::uint64_t>(i));
    sum_n += z;
    square_n += z * z;
  }
  EXPECT_NEAR(sum / n, 0.5, 0.003);
  EXPECT_NEAR(sum_n / n, 0.0, 0.01);
  EXPECT_NEAR(square_n / n, 1.0, 0.015);
}

TEST(Rng, BelowStaysBelowAndForksDiffer) {
  const Rng rng(1);
  for (std::uint64_t i = 0; i < 1000; ++i) EXPECT_LT(rng.below(i, 7), 7u);
  EXPECT_NE(rng.fork(1).bits(0), rng.fork(2).bits(0));
  EXPECT_EQ(rng.fork(1).bits(5), rng.fork(1).bits(5));
}

}  // namespace
}  // namespace conclave
