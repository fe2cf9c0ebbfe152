// Iterative fitting of the quasi-independence model; see pair_chance.h.
#include "inspect/pair_chance.h"

#include <cmath>
#include <cstddef>

#include "base/error.h"

namespace conclave::inspect {

std::vector<double> expected_pairs(std::span<const std::int64_t> pairs_EE, int n_experts) {
  const std::size_t n = static_cast<std::size_t>(n_experts);
  CONCLAVE_CHECK(n_experts >= 0 && pairs_EE.size() == n * n, "{} pair counts for {} experts",
                 pairs_EE.size(), n_experts);
  std::vector<double> row_sums(n, 0);
  double total = 0;
  for (std::size_t a = 0; a < n; ++a) {
    for (std::size_t b = 0; b < n; ++b) {
      if (a != b) row_sums[a] += static_cast<double>(pairs_EE[a * n + b]);
    }
    total += row_sums[a];
  }
  std::vector<double> expected(n * n, 0);
  if (total == 0) return expected;

  // w_a (S - w_a) = r_a with S the sum of all w. The geometric mean of old and new value damps the
  // step, without which two experts that share most of the pairs swap their values for ever.
  constexpr int kMaxRounds = 1000;
  constexpr double kTolerance = 1e-7;
  std::vector<double> w(n);
  for (std::size_t a = 0; a < n; ++a) w[a] = row_sums[a] / std::sqrt(total);
  for (int round = 0; round < kMaxRounds; ++round) {
    double change = 0;
    double sum = 0;
    for (const double value : w) sum += value;
    for (std::size_t a = 0; a < n; ++a) {
      const double others = sum - w[a];
      if (row_sums[a] == 0 || others <= 0) continue;
      const double next = std::sqrt(w[a] * row_sums[a] / others);
      change = std::max(change, std::abs(next - w[a]) / next);
      sum += next - w[a];
      w[a] = next;
    }
    if (change < kTolerance) break;
  }
  for (std::size_t a = 0; a < n; ++a) {
    for (std::size_t b = 0; b < n; ++b) {
      if (a != b) expected[a * n + b] = w[a] * w[b];
    }
  }
  return expected;
}

}  // namespace conclave::inspect
