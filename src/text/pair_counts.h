// The words of a training text as lists of tokens, and how often each pair of neighbours occurs:
// kept up to date as pairs are merged, so that a merge costs what it changes.
#pragma once

#include <cstdint>
#include <optional>
#include <queue>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/hash.h"

namespace conclave::text {

class PairCounts {
 public:
  using Pair = std::pair<std::int32_t, std::int32_t>;

  // `max_bytes`: pairs whose tokens are longer together are not counted.
  explicit PairCounts(std::int32_t max_bytes);

  // A token that words may be made of, with its length in bytes; ids in order from 0.
  void add_token(std::int32_t bytes);
  void add_word(std::span<const std::int32_t> tokens, std::int64_t count);
  // Counts all pairs; call once after the last word.
  void start();

  struct Best {
    Pair pair;
    std::int64_t count = 0;
  };
  // The pair that occurs most; of equals the smallest. It is not offered again unless merging
  // makes it occur anew.
  std::optional<Best> take_best();
  // Replaces a pair by a token everywhere.
  void merge(Pair pair, std::int32_t token);

 private:
  struct Word {
    std::size_t begin = 0;  // in tokens_
    std::uint32_t size = 0;
    std::int64_t count = 0;
  };
  struct Occurrence {
    std::int64_t count = 0;
    std::vector<std::uint32_t> words;  // may name words that have lost the pair; ascending runs
  };
  struct Candidate {
    std::int64_t count;
    Pair pair;
    bool operator<(const Candidate& other) const {
      return count != other.count ? count < other.count : pair > other.pair;
    }
  };
  static std::uint64_t key(Pair pair) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(pair.first)) << 32 |
           static_cast<std::uint32_t>(pair.second);
  }
  struct KeyHash {
    std::size_t operator()(std::uint64_t value) const { return hash_number(value, 0); }
  };

  void change(Pair pair, std::uint32_t word, std::int64_t by);
  void merge_in_word(std::uint32_t index, Pair pair, std::int32_t token);

  std::int32_t max_bytes_;
  std::vector<std::int32_t> token_bytes_;
  std::vector<std::int32_t> tokens_;
  std::vector<Word> words_;
  std::unordered_map<std::uint64_t, Occurrence, KeyHash> pairs_;
  std::priority_queue<Candidate> queue_;
  std::vector<Pair> grown_;  // pairs that the current merge made more frequent
};

}  // namespace conclave::text
