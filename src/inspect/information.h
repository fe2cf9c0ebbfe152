// How much one labelling of the tokens says about another: entropies, mutual information, and what
// mutual information chance alone gives.
//
// NMI = I(X;Y) / sqrt(H(X) H(Y)), the geometric form of Strehl and Ghosh 2002 ("Cluster ensembles",
// JMLR 3:583, eq. 3). Chance: the exact expectation of I over all tables with the same row and
// column sums (the permutation model), Vinh, Epps and Bailey 2010 ("Information theoretic measures
// for clusterings comparison", JMLR 11:2837, eq. 24).
//
// Shape letters: R rows, C columns of a table of counts, row-major. Entropies are in nats.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace conclave::inspect {

// Entropy of the distribution that the counts stand for; 0 where nothing was counted.
double entropy(std::span<const std::int64_t> counts);

// I(row; column) of a table of R x C non-negative counts. Never negative.
double mutual_information(std::span<const std::int64_t> table_RC, int n_columns);

// Expectation of mutual_information over random tables with the sums of this one. Time grows with
// R * C * sqrt(total), a few ms for a million tokens, 10 labels and 64 experts.
double expected_mutual_information(std::span<const std::int64_t> table_RC, int n_columns);

struct NormalisedInformation {
  double nmi = 0;
  double nmi_random = 0;  // expected_mutual_information, normalised in the same way
};

// Nothing where fewer than two rows were counted: there is nothing that the columns could tell.
// 0 where all counts are in one column.
std::optional<NormalisedInformation> normalised_information(std::span<const std::int64_t> table_RC,
                                                            int n_columns);

}  // namespace conclave::inspect
