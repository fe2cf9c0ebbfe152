// Ids of pieces that came by before: in running text most words do.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::text {

class PieceCache {
 public:
  PieceCache();

  // The ids of a piece, or nullptr. Valid until the next put().
  const std::span<const std::int32_t>* find(std::string_view piece);
  // Remembers them, if the piece is short; forgets everything when full. Call after a find() of the
  // same piece that gave nullptr.
  void put(std::string_view piece, std::span<const std::int32_t> ids);

 private:
  struct Entry {
    std::uint64_t hash = 0;
    std::uint32_t text = 0;
    std::uint32_t ids = 0;
    std::uint16_t text_size = 0;  // 0: empty slot
    std::uint16_t n_ids = 0;
  };
  std::size_t slot_of(std::string_view piece, std::uint64_t hash) const;

  std::uint64_t seed_;
  std::size_t used_ = 0;
  std::vector<Entry> slots_;
  std::string texts_;
  std::vector<std::int32_t> ids_;
  std::span<const std::int32_t> found_;
};

}  // namespace conclave::text
