#include "text/pair_counts.h"

#include <algorithm>

namespace conclave::text {

PairCounts::PairCounts(std::int32_t max_bytes) : max_bytes_(max_bytes) {}

void PairCounts::add_token(std::int32_t bytes) { token_bytes_.push_back(bytes); }

void PairCounts::add_word(std::span<const std::int32_t> tokens, std::int64_t count) {
  words_.push_back({tokens_.size(), static_cast<std::uint32_t>(tokens.size()), count});
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
}

void PairCounts::change(Pair pair, std::uint32_t word, std::int64_t by) {
  const std::int32_t bytes = token_bytes_[static_cast<std::size_t>(pair.first)] +
                             token_bytes_[static_cast<std::size_t>(pair.second)];
  if (bytes > max_bytes_) return;
  Occurrence& occurrence = pairs_[key(pair)];
  occurrence.count += by;
  if (by < 0) return;
  if (occurrence.words.empty() || occurrence.words.back() != word) {
    occurrence.words.push_back(word);
  }
  grown_.push_back(pair);
}

void PairCounts::start() {
  for (std::uint32_t index = 0; index < words_.size(); ++index) {
    const Word& word = words_[index];
    for (std::uint32_t i = 0; i + 1 < word.size; ++i) {
      change({tokens_[word.begin + i], tokens_[word.begin + i + 1]}, index, word.count);
    }
    grown_.clear();
  }
  for (const auto& [code, occurrence] : pairs_) {
    queue_.push({occurrence.count,
                 {static_cast<std::int32_t>(code >> 32), static_cast<std::int32_t>(code)}});
  }
}

// A count in the queue may be out of date: too large when merges used the pair up, in which case
// the pair goes back with its true count. It is never too small, as every growth is queued.
std::optional<PairCounts::Best> PairCounts::take_best() {
  while (!queue_.empty()) {
    const Candidate top = queue_.top();
    queue_.pop();
    const auto found = pairs_.find(key(top.pair));
    if (found == pairs_.end() || found->second.count <= 0) continue;
    if (found->second.count != top.count) {
      if (found->second.count < top.count) queue_.push({found->second.count, top.pair});
      continue;
    }
    return Best{top.pair, top.count};
  }
  return std::nullopt;
}

void PairCounts::merge_in_word(std::uint32_t index, Pair pair, std::int32_t token) {
  Word& word = words_[index];
  std::int32_t* const tokens = tokens_.data() + word.begin;
  std::uint32_t kept = 0;
  for (std::uint32_t i = 0; i < word.size;) {
    if (i + 1 >= word.size || tokens[i] != pair.first || tokens[i + 1] != pair.second) {
      tokens[kept++] = tokens[i++];
      continue;
    }
    if (kept > 0) {
      change({tokens[kept - 1], pair.first}, index, -word.count);
      change({tokens[kept - 1], token}, index, word.count);
    }
    if (i + 2 < word.size) {
      change({pair.second, tokens[i + 2]}, index, -word.count);
      change({token, tokens[i + 2]}, index, word.count);
    }
    tokens[kept++] = token;
    i += 2;
  }
  word.size = kept;
}

void PairCounts::merge(Pair pair, std::int32_t token) {
  const auto found = pairs_.find(key(pair));
  if (found == pairs_.end()) return;
  std::vector<std::uint32_t> words = std::move(found->second.words);
  pairs_.erase(found);
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  grown_.clear();
  for (const std::uint32_t word : words) merge_in_word(word, pair, token);
  // The pair itself is gone everywhere; what changes of its own overlaps left behind is void.
  pairs_.erase(key(pair));
  std::sort(grown_.begin(), grown_.end());
  grown_.erase(std::unique(grown_.begin(), grown_.end()), grown_.end());
  for (const Pair& grown : grown_) {
    const auto now = pairs_.find(key(grown));
    if (now != pairs_.end() && now->second.count > 0) queue_.push({now->second.count, grown});
  }
}

}  // namespace conclave::text
