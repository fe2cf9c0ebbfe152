// Tokens and their ids, both ways.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::text {

// Ids stay below this, so that a table over all ids fits any machine.
inline constexpr std::int64_t kMaxVocabulary = std::int64_t{1} << 24;

class Vocabulary {
 public:
  Vocabulary();
  void reserve(std::size_t tokens);

  // Throws Error(kBadFile) where the token is there already, the id is negative or the id is
  // kMaxVocabulary or more. Two tokens may share an id; the first is its spelling.
  void add(std::string_view token, std::int64_t id);
  // The same, but find() of a token that is there twice gives the later id; both ids have it as
  // their spelling.
  void add_or_replace(std::string_view token, std::int64_t id);
  // Call once after the last add(). Throws Error(kBadFile) where the largest id is so far beyond
  // the number of tokens that a table over all ids would be mostly empty.
  void finish();

  std::optional<std::int32_t> find(std::string_view token) const;
  // The token's spelling; empty for unused ids.
  std::string_view text(std::int32_t id) const;
  bool has(std::int32_t id) const;
  // Tokens added.
  std::size_t count() const { return entries_.size(); }
  // Largest id + 1.
  std::int32_t id_limit() const { return id_limit_; }

 private:
  struct Entry {
    std::uint64_t offset = 0;
    std::uint32_t size = 0;
    std::int32_t id = 0;
  };
  std::string_view text_of(const Entry& entry) const {
    return std::string_view(bytes_).substr(entry.offset, entry.size);
  }
  std::size_t slot_of(std::string_view token) const;
  void insert(std::string_view token, std::int64_t id, bool replace);
  void grow();

  std::uint64_t seed_;
  std::string bytes_;
  std::vector<Entry> entries_;
  std::vector<std::uint32_t> slots_;  // index into entries_ + 1, 0 for empty; a power of two
  std::vector<std::uint32_t> by_id_;  // the same
  std::int32_t id_limit_ = 0;
};

}  // namespace conclave::text
