#include "text/piece_cache.h"

#include "text/hash.h"

namespace conclave::text {
namespace {

constexpr std::size_t kFirstSlots = 256;
constexpr std::size_t kMostSlots = 1 << 17;  // 3 MB of slots, some 4 MB of texts and ids
constexpr std::size_t kLongestPiece = 128;

}  // namespace

PieceCache::PieceCache() : seed_(random_seed()) {}

std::size_t PieceCache::slot_of(std::string_view piece, std::uint64_t hash) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t slot = hash & mask;
  while (slots_[slot].text_size != 0) {
    const Entry& entry = slots_[slot];
    if (entry.hash == hash &&
        std::string_view(texts_).substr(entry.text, entry.text_size) == piece) {
      break;
    }
    slot = (slot + 1) & mask;
  }
  return slot;
}

const std::span<const std::int32_t>* PieceCache::find(std::string_view piece) {
  if (piece.size() > kLongestPiece || slots_.empty()) return nullptr;
  const Entry& entry = slots_[slot_of(piece, hash_bytes(piece, seed_))];
  if (entry.text_size == 0) return nullptr;
  found_ = std::span<const std::int32_t>(ids_).subspan(entry.ids, entry.n_ids);
  return &found_;
}

void PieceCache::put(std::string_view piece, std::span<const std::int32_t> ids) {
  if (piece.empty() || piece.size() > kLongestPiece || ids.size() > 4 * kLongestPiece) return;
  if (2 * (used_ + 1) > slots_.size()) {
    if (slots_.size() == kMostSlots) {
      slots_.assign(kMostSlots, {});
      texts_.clear();
      ids_.clear();
      used_ = 0;
    } else {
      std::vector<Entry> old(slots_.empty() ? kFirstSlots : 2 * slots_.size());
      old.swap(slots_);
      for (const Entry& entry : old) {
        if (entry.text_size == 0) continue;
        std::size_t slot = entry.hash & (slots_.size() - 1);
        while (slots_[slot].text_size != 0) slot = (slot + 1) & (slots_.size() - 1);
        slots_[slot] = entry;
      }
    }
  }
  const std::uint64_t hash = hash_bytes(piece, seed_);
  slots_[slot_of(piece, hash)] = {
      hash, static_cast<std::uint32_t>(texts_.size()), static_cast<std::uint32_t>(ids_.size()),
      static_cast<std::uint16_t>(piece.size()), static_cast<std::uint16_t>(ids.size())};
  texts_ += piece;
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  ++used_;
}

}  // namespace conclave::text
