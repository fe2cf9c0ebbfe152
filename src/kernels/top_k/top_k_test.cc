#include "kernels/top_k/top_k.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "kernels/simd/kernel_testing.h"

namespace conclave::kernels {
namespace {

using Ids = std::vector<std::int32_t>;

template <class Real>
Ids chosen(const std::vector<Real>& x, std::int64_t k) {
  Ids ids(static_cast<std::size_t>(k) + 2, -9);  // two guards
  top_k(x.data(), static_cast<std::int64_t>(x.size()), k, ids.data());
  EXPECT_EQ(ids[static_cast<std::size_t>(k)], -9);
  ids.resize(static_cast<std::size_t>(k));
  return ids;
}

// By a stable sort: descending, NaN last.
Ids sorted(const std::vector<float>& x, std::int64_t k) {
  Ids ids(x.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](std::int32_t a, std::int32_t b) {
    const float va = x[static_cast<std::size_t>(a)], vb = x[static_cast<std::size_t>(b)];
    if (std::isnan(va) || std::isnan(vb)) return !std::isnan(va) && std::isnan(vb);
    return va > vb;
  });
  ids.resize(static_cast<std::size_t>(k));
  return ids;
}

TEST(TopK, MatchesAStableSort) {
  const float specials[] = {0.f,
                            -0.f,
                            1.f,
                            -1.f,
                            std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity(),
                            std::nanf("")};
  const Rng rng(1);
  std::uint64_t counter = 0;
  for (int round = 0; round < 3000; ++round) {
    const std::uint64_t n = rng.below(counter++, 40);
    std::vector<float> x(n);
    for (float& value : x) {
      const std::uint64_t kind = rng.below(counter++, 9);
      value = kind < 7 ? specials[kind] : static_cast<float>(rng.normal(counter++));
    }
    const auto k = static_cast<std::int64_t>(rng.below(counter++, n + 1));
    ASSERT_EQ(chosen(x, k), sorted(x, k));
  }
}

// On both sides of where the row is too wide, or the choices too many, for the blocked way.
TEST(TopK, WideRowsAndManyChoices) {
  const Rng rng(2);
  std::uint64_t counter = 0;
  for (const std::size_t n : {31u, 64u, 511u, 512u, 513u, 1500u}) {
    std::vector<float> x(n);
    for (float& value : x) {  // few different values: many ties
      value = static_cast<float>(rng.below(counter++, 100)) - 50.f;
      if (value == 7.f) value = std::nanf("");
    }
    for (const std::size_t k : {1u, 8u, 32u, 33u, 500u}) {
      if (k > n) continue;
      const auto count = static_cast<std::int64_t>(k);
      ASSERT_EQ(chosen(x, count), sorted(x, count)) << n << " " << k;
      const std::vector<double> wide(x.begin(), x.end());
      ASSERT_EQ(chosen(wide, count), sorted(x, count)) << n << " " << k;
    }
    const auto all = static_cast<std::int64_t>(n);
    ASSERT_EQ(chosen(x, all), sorted(x, all));
  }
}

TEST(TopK, TiesAndNaN) {
  const double nan = std::nan("");
  EXPECT_EQ(chosen<double>({1, 3, 3, 3}, 2), (Ids{1, 2}));
  EXPECT_EQ(chosen<double>({nan, 1, nan, 2}, 3), (Ids{3, 1, 0}));
  EXPECT_EQ(chosen<double>({nan, nan, nan}, 3), (Ids{0, 1, 2}));
  EXPECT_EQ(chosen<double>({nan, -std::numeric_limits<double>::infinity()}, 1), (Ids{1}));
  EXPECT_EQ(chosen<double>({}, 0), Ids{});
}

}  // namespace
}  // namespace conclave::kernels
