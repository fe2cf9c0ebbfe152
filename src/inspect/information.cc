// Mutual information of tables of counts; formulas and sources in information.h.
#include "inspect/information.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "base/error.h"

namespace conclave::inspect {
namespace {

struct Sums {
  std::vector<std::int64_t> rows;
  std::vector<std::int64_t> columns;
  std::int64_t total = 0;
};

Sums sums_of(std::span<const std::int64_t> table, int n_columns) {
  CONCLAVE_CHECK(n_columns > 0 && table.size() % static_cast<std::size_t>(n_columns) == 0,
                 "a table of {} counts with {} columns", table.size(), n_columns);
  const std::size_t columns = static_cast<std::size_t>(n_columns);
  Sums sums;
  sums.rows.assign(table.size() / columns, 0);
  sums.columns.assign(columns, 0);
  for (std::size_t i = 0; i < table.size(); ++i) {
    CONCLAVE_CHECK(table[i] >= 0, "count {} of a table is {}", i, table[i]);
    sums.rows[i / columns] += table[i];
    sums.columns[i % columns] += table[i];
    sums.total += table[i];
  }
  return sums;
}

// One cell's share of the expectation: sum over n of P(n) (n/N) ln(N n / (a b)), where P is the
// hypergeometric distribution of the cell's count. P is walked outwards from its mode by the ratio
// of neighbours and normalised at the end, so no factorial is ever formed. The walk stops where P
// has fallen below 1e-20 of the mode: ratios only fall from there, and at most N terms remain.
double expected_cell(std::int64_t row_sum, std::int64_t column_sum, std::int64_t total) {
  if (row_sum == 0 || column_sum == 0) return 0;
  constexpr double kNegligible = 1e-20;
  const double a = static_cast<double>(row_sum);
  const double b = static_cast<double>(column_sum);
  const double all = static_cast<double>(total);
  const std::int64_t low = std::max<std::int64_t>(0, row_sum + column_sum - total);
  const std::int64_t high = std::min(row_sum, column_sum);
  const std::int64_t mode =
      std::clamp(static_cast<std::int64_t>((a + 1) * ((b + 1) / (all + 2))), low, high);

  double mass = 0;
  double sum = 0;
  const auto take = [&](std::int64_t n, double weight) {
    mass += weight;
    if (n > 0) {
      const double count = static_cast<double>(n);
      sum += weight * (count / all) * std::log(all / a * (count / b));
    }
  };
  take(mode, 1);
  double weight = 1;
  for (std::int64_t n = mode; n < high && weight > kNegligible; ++n) {
    const double x = static_cast<double>(n);
    weight *= (a - x) * (b - x) / ((x + 1) * (all - a - b + x + 1));
    take(n + 1, weight);
  }
  weight = 1;
  for (std::int64_t n = mode; n > low && weight > kNegligible; --n) {
    const double x = static_cast<double>(n);
    weight *= x * (all - a - b + x) / ((a - x + 1) * (b - x + 1));
    take(n - 1, weight);
  }
  return sum / mass;
}

double mutual_information(std::span<const std::int64_t> table, const Sums& sums) {
  if (sums.total == 0) return 0;
  const double all = static_cast<double>(sums.total);
  const std::size_t columns = sums.columns.size();
  double sum = 0;
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (table[i] == 0) continue;
    const double n = static_cast<double>(table[i]);
    const double a = static_cast<double>(sums.rows[i / columns]);
    const double b = static_cast<double>(sums.columns[i % columns]);
    sum += n / all * std::log(all / a * (n / b));
  }
  return std::max(0.0, sum);
}

double expected_information(const Sums& sums) {
  double sum = 0;
  for (const std::int64_t row : sums.rows) {
    for (const std::int64_t column : sums.columns) sum += expected_cell(row, column, sums.total);
  }
  return std::max(0.0, sum);
}

}  // namespace

double entropy(std::span<const std::int64_t> counts) {
  double total = 0;
  for (const std::int64_t count : counts) total += static_cast<double>(count);
  double sum = 0;
  for (const std::int64_t count : counts) {
    if (count <= 0) continue;
    const double p = static_cast<double>(count) / total;
    sum -= p * std::log(p);
  }
  return std::max(0.0, sum);
}

double mutual_information(std::span<const std::int64_t> table_RC, int n_columns) {
  return mutual_information(table_RC, sums_of(table_RC, n_columns));
}

double expected_mutual_information(std::span<const std::int64_t> table_RC, int n_columns) {
  return expected_information(sums_of(table_RC, n_columns));
}

std::optional<NormalisedInformation> normalised_information(std::span<const std::int64_t> table_RC,
                                                            int n_columns) {
  const Sums sums = sums_of(table_RC, n_columns);
  const auto used = std::count_if(sums.rows.begin(), sums.rows.end(),
                                  [](std::int64_t count) { return count > 0; });
  if (used < 2) return std::nullopt;
  const double scale = std::sqrt(entropy(sums.rows) * entropy(sums.columns));
  if (scale == 0) return NormalisedInformation{};
  return NormalisedInformation{mutual_information(table_RC, sums) / scale,
                               expected_information(sums) / scale};
}

}  // namespace conclave::inspect
