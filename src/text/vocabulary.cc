#include "text/vocabulary.h"

#include "base/error.h"
#include "text/display.h"
#include "text/hash.h"

namespace conclave::text {
namespace {

constexpr std::size_t kFirstSlots = 1024;
// Unused ids that are accepted: models pad their vocabularies by a few thousand at most.
constexpr std::int64_t kMostUnused = 1 << 16;

}  // namespace

Vocabulary::Vocabulary() : seed_(random_seed()), slots_(kFirstSlots) {}

void Vocabulary::reserve(std::size_t tokens) {
  entries_.reserve(tokens);
  while (slots_.size() < 2 * tokens) grow();
}

std::size_t Vocabulary::slot_of(std::string_view token) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t slot = hash_bytes(token, seed_) & mask;
  while (slots_[slot] != 0 && text_of(entries_[slots_[slot] - 1]) != token) {
    slot = (slot + 1) & mask;
  }
  return slot;
}

// Of equal tokens the later one takes the slot.
void Vocabulary::grow() {
  slots_.assign(slots_.size() * 2, 0);
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    slots_[slot_of(text_of(entries_[i]))] = static_cast<std::uint32_t>(i + 1);
  }
}

void Vocabulary::add(std::string_view token, std::int64_t id) { insert(token, id, false); }

void Vocabulary::add_or_replace(std::string_view token, std::int64_t id) {
  insert(token, id, true);
}

void Vocabulary::insert(std::string_view token, std::int64_t id, bool replace) {
  if (id < 0 || id >= kMaxVocabulary) {
    fail(ErrorKind::kBadFile, "token '{}' has id {}; expected 0..{}", display_text(token), id,
         kMaxVocabulary - 1);
  }
  if (2 * (entries_.size() + 1) > slots_.size()) grow();
  const std::size_t slot = slot_of(token);
  if (slots_[slot] != 0 && !replace) {
    fail(ErrorKind::kBadFile, "token '{}' is there twice, with ids {} and {}", display_text(token),
         entries_[slots_[slot] - 1].id, id);
  }
  entries_.push_back(
      {bytes_.size(), static_cast<std::uint32_t>(token.size()), static_cast<std::int32_t>(id)});
  bytes_.append(token);
  slots_[slot] = static_cast<std::uint32_t>(entries_.size());
  id_limit_ = std::max(id_limit_, static_cast<std::int32_t>(id + 1));
}

void Vocabulary::finish() {
  const auto tokens = static_cast<std::int64_t>(entries_.size());
  if (id_limit_ > 2 * tokens + kMostUnused) {
    fail(ErrorKind::kBadFile, "{} tokens, but the largest id is {}; ids must not leave such gaps",
         tokens, id_limit_ - 1);
  }
  by_id_.assign(static_cast<std::size_t>(id_limit_), 0);
  for (std::size_t i = entries_.size(); i-- > 0;) {
    by_id_[static_cast<std::size_t>(entries_[i].id)] = static_cast<std::uint32_t>(i + 1);
  }
}

std::optional<std::int32_t> Vocabulary::find(std::string_view token) const {
  const std::uint32_t index = slots_[slot_of(token)];
  if (index == 0) return std::nullopt;
  return entries_[index - 1].id;
}

bool Vocabulary::has(std::int32_t id) const {
  return id >= 0 && id < id_limit_ && by_id_[static_cast<std::size_t>(id)] != 0;
}

std::string_view Vocabulary::text(std::int32_t id) const {
  if (!has(id)) return {};
  return text_of(entries_[by_id_[static_cast<std::size_t>(id)] - 1]);
}

}  // namespace conclave::text
