// Hashing for tables whose keys come from files and users: seeded once for each table owner, so
// that nobody can prepare keys that collide. What the tables answer does not depend on the seed.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <string_view>

namespace conclave::text {

__extension__ using Uint128 = unsigned __int128;

// The two halves of the 128-bit product, folded: every bit of the result depends on all of both.
inline std::uint64_t fold_multiply(std::uint64_t a, std::uint64_t b) {
  const Uint128 product = static_cast<Uint128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

inline constexpr std::uint64_t kHashMultiplier = 0x9e3779b97f4a7c15u;  // 2^64 / golden ratio

inline std::uint64_t hash_number(std::uint64_t value, std::uint64_t seed) {
  return fold_multiply(fold_multiply(value ^ seed, kHashMultiplier) ^ seed, ~kHashMultiplier);
}

inline std::uint64_t hash_bytes(std::string_view bytes, std::uint64_t seed) {
  std::uint64_t state = fold_multiply(seed ^ bytes.size(), kHashMultiplier);
  while (bytes.size() > 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data(), 8);
    state = fold_multiply(state ^ word, kHashMultiplier ^ seed);
    bytes.remove_prefix(8);
  }
  std::uint64_t word = 0;
  std::memcpy(&word, bytes.data(), bytes.size());
  return fold_multiply(state ^ word, ~kHashMultiplier ^ seed);
}

inline std::uint64_t random_seed() {
  std::random_device device;
  return static_cast<std::uint64_t>(device()) << 32 | device();
}

}  // namespace conclave::text
