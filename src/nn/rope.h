// The angles of rotary positions (Su et al. 2021), with the scalings that published models use.
#pragma once

#include <vector>

#include "nn/config.h"
#include "ops/pointwise.h"

namespace conclave::nn {

// Inverse frequencies [rotary_dim / 2] of every pair, rounded to f32 where the reference
// implementations round. `long_sequence` chooses the second set of kLongRope.
std::vector<float> rope_frequencies(const RopeConfig& rope, int rotary_dim, bool long_sequence);

// cos and sin of positions, made when they are first asked for: models declare contexts of millions
// of positions of which a run uses few.
class RopeAngles {
 public:
  RopeAngles() = default;
  RopeAngles(const RopeConfig& rope, int rotary_dim);

  // Sequences longer than this rotate by the second set of angles; 0: there is only one.
  std::int64_t original_positions() const { return original_; }
  // The table of either set, for positions 0 .. positions-1 at least. Not safe to call while a
  // table that it gave is in use.
  const ops::RopeTable& table(std::int64_t positions, bool long_sequence);

 private:
  struct Set {
    std::vector<float> frequencies;
    double magnitude = 1;
    std::vector<float> cos_sin;
    ops::RopeTable table;
  };
  int rotary_dim_ = 0;
  std::int64_t original_ = 0;
  Set sets_[2];
};

}  // namespace conclave::nn
