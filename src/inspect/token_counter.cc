// Open addressing with linear probing; see token_counter.h.
#include "inspect/token_counter.h"

#include <algorithm>
#include <utility>

namespace conclave::inspect {
namespace {

constexpr std::size_t kFirstSize = 1024;  // a power of two, as every size that follows

std::uint64_t mix(std::int32_t expert, std::int32_t token) {
  std::uint64_t x = (static_cast<std::uint64_t>(static_cast<std::uint32_t>(expert)) << 32) |
                    static_cast<std::uint32_t>(token);
  x = (x ^ (x >> 31)) * 0x9e3779b97f4a7c15ull;  // the golden ratio: spreads ids that lie close
  return x ^ (x >> 29);
}

}  // namespace

std::size_t TokenCounter::place(std::int32_t expert, std::int32_t token) const {
  const std::size_t mask = table_.size() - 1;
  std::size_t at = static_cast<std::size_t>(mix(expert, token)) & mask;
  while (table_[at].count != 0 && (table_[at].expert != expert || table_[at].token != token)) {
    at = (at + 1) & mask;
  }
  return at;
}

void TokenCounter::grow() {
  std::vector<Entry> old(table_.empty() ? kFirstSize : table_.size() * 2);
  std::swap(old, table_);
  for (const Entry& entry : old) {
    if (entry.count != 0) table_[place(entry.expert, entry.token)] = entry;
  }
}

void TokenCounter::add(std::int32_t expert, std::int32_t token) {
  if ((used_ + 1) * 3 > table_.size() * 2) grow();
  Entry& entry = table_[place(expert, token)];
  if (entry.count == 0) {
    entry.expert = expert;
    entry.token = token;
    ++used_;
  }
  ++entry.count;
}

std::int64_t TokenCounter::count(std::int32_t expert, std::int32_t token) const {
  return table_.empty() ? 0 : table_[place(expert, token)].count;
}

std::vector<TokenCounter::Entry> TokenCounter::sorted() const {
  std::vector<Entry> entries;
  entries.reserve(used_);
  for (const Entry& entry : table_) {
    if (entry.count != 0) entries.push_back(entry);
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.expert, a.token) < std::pair(b.expert, b.token);
  });
  return entries;
}

}  // namespace conclave::inspect
