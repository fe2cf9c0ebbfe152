#include "moe/routers/select.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "base/rng.h"

namespace conclave::moe {
namespace {

// A full stable sort in the documented order.
std::vector<std::int32_t> sorted(const std::vector<float>& keys, int k) {
  std::vector<std::int32_t> ids(keys.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](std::int32_t a, std::int32_t b) {
    const float x = keys[static_cast<std::size_t>(a)];
    const float y = keys[static_cast<std::size_t>(b)];
    const float low = -std::numeric_limits<float>::infinity();
    return (std::isnan(x) ? low : x) > (std::isnan(y) ? low : y);
  });
  ids.resize(static_cast<std::size_t>(k));
  return ids;
}

TEST(TopK, EqualsAStableSortForEverySizeTieAndSpecialValue) {
  const float inf = std::numeric_limits<float>::infinity();
  const float special[] = {0.0f, -0.0f, 1.0f, -1.0f, 2.5f, inf, -inf, std::nanf("")};
  for (int n = 1; n <= 40; ++n) {
    for (int trial = 0; trial < 20; ++trial) {
      const Rng rng(static_cast<std::uint64_t>(n), static_cast<std::uint64_t>(trial));
      std::vector<float> keys;
      for (int i = 0; i < n; ++i) {
        const auto counter = static_cast<std::uint64_t>(i);
        keys.push_back(trial % 2 == 0 ? special[rng.below(counter, 8)]
                                      : static_cast<float>(rng.normal(counter)));
      }
      for (int k = 0; k <= n; ++k) {
        std::vector<std::int32_t> ids(static_cast<std::size_t>(k) + 1, -7);
        top_k(keys.data(), n, k, ids.data());
        ASSERT_EQ(ids.back(), -7) << "wrote past the end";
        ids.pop_back();
        ASSERT_EQ(ids, sorted(keys, k)) << "n " << n << " k " << k << " trial " << trial;
      }
    }
  }
}

}  // namespace
}  // namespace conclave::moe
