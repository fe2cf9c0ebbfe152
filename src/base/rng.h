// Random numbers as a function of (key, counter), so that a value does not depend on who computes
// it, in what order, or how often: resume, recomputation and any number of threads give the same.
// Philox-4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
#pragma once

#include <array>
#include <cstdint>

namespace conclave {

class Rng {
 public:
  // A stream is named by a seed and up to two more numbers (a step and a layer, say).
  explicit Rng(std::uint64_t seed, std::uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  // The generator of a sub-stream; the same arguments always give the same stream.
  Rng fork(std::uint64_t id) const;

  // Four 32-bit words at position `counter` of this stream.
  std::array<std::uint32_t, 4> block(std::uint64_t counter) const;

  std::uint64_t bits(std::uint64_t counter) const;
  double uniform(std::uint64_t counter) const;                            // [0, 1)
  double normal(std::uint64_t counter) const;                             // N(0, 1)
  std::uint64_t below(std::uint64_t counter, std::uint64_t bound) const;  // [0, bound), bound > 0

 private:
  std::uint64_t seed_;
  std::uint64_t stream_;
};

}  // namespace conclave
