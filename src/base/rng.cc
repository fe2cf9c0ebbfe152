#include "base/rng.h"

#include <cmath>
#include <numbers>

namespace conclave {
namespace {

__extension__ typedef unsigned __int128 Wide;

constexpr std::uint32_t kMultiplier0 = 0xD2511F53u;  // constants of Philox-4x32, Salmon et al. 2011
constexpr std::uint32_t kMultiplier1 = 0xCD9E8D57u;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9u;
constexpr std::uint32_t kWeyl1 = 0xBB67AE85u;

}  // namespace

std::array<std::uint32_t, 4> Rng::block(std::uint64_t counter) const {
  std::array<std::uint32_t, 4> c = {
      static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32),
      static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32)};
  std::uint32_t k0 = static_cast<std::uint32_t>(seed_);
  std::uint32_t k1 = static_cast<std::uint32_t>(seed_ >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = static_cast<std::uint64_t>(kMultiplier0) * c[0];
    const std::uint64_t p1 = static_cast<std::uint64_t>(kMultiplier1) * c[2];
    c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<std::uint32_t>(p0)};
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
  return c;
}

Rng Rng::fork(std::uint64_t id) const {
  const auto words = block(id);
  const auto low =
      static_cast<std::uint64_t>(words[0]) | (static_cast<std::uint64_t>(words[1]) << 32);
  const auto high =
      static_cast<std::uint64_t>(words[2]) | (static_cast<std::uint64_t>(words[3]) << 32);
  return Rng(low, high);
}

std::uint64_t Rng::bits(std::uint64_t counter) const {
  const auto words = block(counter);
  return static_cast<std::uint64_t>(words[0]) | (static_cast<std::uint64_t>(words[1]) << 32);
}

double Rng::uniform(std::uint64_t counter) const {
  return static_cast<double>(bits(counter) >> 11) * 0x1p-53;
}

double Rng::normal(std::uint64_t counter) const {  // Box-Muller; u1 in (0, 1]
  const auto words = block(counter);
  const double u1 = (static_cast<double>(words[0]) + 1.0) * 0x1p-32;
  const double u2 = static_cast<double>(words[1]) * 0x1p-32;
  return std::sqrt(-2.0 * std::log(u1)) * std::cos(2.0 * std::numbers::pi * u2);
}

std::uint64_t Rng::below(std::uint64_t counter, std::uint64_t bound) const {
  return static_cast<std::uint64_t>((static_cast<Wide>(bits(counter)) * bound) >> 64);
}

}  // namespace conclave
