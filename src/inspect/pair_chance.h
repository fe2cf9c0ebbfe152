// How often two experts would be chosen together by chance. Chosen experts of one token are
// distinct, so plain independence P(a) P(b) is the wrong measure: with E experts and K slots it
// calls every pair of a uniform router rare, by (K-1)E / (K(E-1)), which is 0.57 for 2 of 8. The
// model used here keeps every expert's number of partners and leaves the diagonal out:
// quasi-independence, Goodman 1968 ("The analysis of cross-classified data", JASA 63:1091).
//
// Shape letters: E experts.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace conclave::inspect {

// `pairs_EE`: symmetric, tokens that chose both a and b; the diagonal is not read. Returns the
// expected counts: w_a w_b off the diagonal, with the row sums of `pairs_EE` (to a relative 1e-6
// where such w exist; where one expert is in more than half of all pairs, to that limit), 0 on it.
std::vector<double> expected_pairs(std::span<const std::int64_t> pairs_EE, int n_experts);

}  // namespace conclave::inspect
