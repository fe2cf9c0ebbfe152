#include "serve/prefix_cache.h"

#include <algorithm>

namespace conclave::serve {

std::int64_t common_prefix(std::span<const std::int32_t> a, std::span<const std::int32_t> b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

void PrefixCache::keep(const std::string& client, std::vector<std::int32_t> tokens,
                       std::unique_ptr<nn::KvCache> cache) {
  if (static_cast<std::int64_t>(tokens.size()) < kLeastTokens) return;
  std::erase_if(entries_, [&](const Entry& entry) {
    return entry.client == client &&
           common_prefix(entry.tokens, tokens) == static_cast<std::int64_t>(entry.tokens.size());
  });
  entries_.push_front({client, std::move(tokens), std::move(cache)});
  if (entries_.size() > kMostEntries) entries_.pop_back();
}

bool PrefixCache::forget_oldest(const nn::KvCache* but) {
  if (entries_.empty() || entries_.back().cache.get() == but) return false;
  entries_.pop_back();
  return true;
}

PrefixCache::Match PrefixCache::find(const std::string& client,
                                     std::span<const std::int32_t> prompt) {
  auto best = entries_.end();
  std::int64_t most = kLeastTokens - 1;
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (entry->client != client) continue;
    const std::int64_t common = common_prefix(prompt, entry->tokens);
    if (common <= most) continue;
    most = common;
    best = entry;
  }
  if (best == entries_.end()) return {};
  entries_.splice(entries_.begin(), entries_, best);
  return {best->cache.get(), most};
}

}  // namespace conclave::serve
