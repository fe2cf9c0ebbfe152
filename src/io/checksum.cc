#include "io/checksum.h"

#include <xxhash.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "base/error.h"

namespace conclave::io {

std::string checksum(std::span<const std::byte> bytes) {
  return fmt::format("{:016x}", XXH3_64bits(bytes.data(), bytes.size()));
}

std::string checksum(const sys::File& file) {
  constexpr std::uint64_t kPiece = 1 << 20;
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(),
                                                                       &XXH3_freeState);
  if (!state) fail(ErrorKind::kOutOfMemory, "{}: no memory for a checksum", file.path());
  XXH3_64bits_reset(state.get());
  std::vector<std::byte> piece;
  for (std::uint64_t at = 0; at < file.size(); at += piece.size()) {
    piece.resize(static_cast<std::size_t>(std::min(kPiece, file.size() - at)));
    file.read(at, piece);
    XXH3_64bits_update(state.get(), piece.data(), piece.size());
  }
  return fmt::format("{:016x}", XXH3_64bits_digest(state.get()));
}

}  // namespace conclave::io
