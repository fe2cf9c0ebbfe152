// Keys and values of sequences that have ended, kept for those whose prompt begins alike: the turns
// of a conversation, a system message that all requests share. A new sequence holds the pages that
// it can use, so entries are never changed and nobody waits for anybody. Entries belong to the
// client whose sequence they were, and no other client's prompt finds them: otherwise the time of
// an answer would tell what others have asked.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "nn/kv_cache.h"

namespace conclave::serve {

// Tokens that two prompts have in common at their beginning.
std::int64_t common_prefix(std::span<const std::int32_t> a, std::span<const std::int32_t> b);

class PrefixCache {
 public:
  // Fewer tokens than this are computed again.
  static constexpr std::int64_t kLeastTokens = 32;
  // More entries than this take longer to search than they save.
  static constexpr std::size_t kMostEntries = 1024;

  // Takes a cache that holds `tokens`. What an entry of the same client holds of them goes.
  void keep(const std::string& client, std::vector<std::int32_t> tokens,
            std::unique_ptr<nn::KvCache> cache);
  // Forgets what was used longest ago; false: there is nothing, or only `but`.
  bool forget_oldest(const nn::KvCache* but = nullptr);

  // The entry that holds most of the beginning of `prompt`; null: none holds kLeastTokens. Valid
  // until the next keep or forget_oldest.
  struct Match {
    const nn::KvCache* cache = nullptr;
    std::int64_t tokens = 0;
  };
  Match find(const std::string& client, std::span<const std::int32_t> prompt);

 private:
  struct Entry {
    std::string client;
    std::vector<std::int32_t> tokens;
    std::unique_ptr<nn::KvCache> cache;
  };
  std::list<Entry> entries_;  // the last used in front
};

}  // namespace conclave::serve
