#include "text/bpe_trainer.h"

#include <algorithm>
#include <array>
#include <unordered_set>

#include "base/error.h"
#include "text/bpe_trainer_pattern.h"
#include "text/byte_alphabet.h"
#include "text/display.h"
#include "text/pair_counts.h"
#include "text/utf8.h"
#include "text/vocabulary.h"
#include "text/word_counter.h"

namespace conclave::text {
namespace {

constexpr std::int64_t kReportEvery = 64;  // merges

void check(const BpeTrainerOptions& options) {
  const auto specials = static_cast<std::int64_t>(options.special_tokens.size());
  if (options.vocab_size < specials + 256 || options.vocab_size >= kMaxVocabulary) {
    fail(ErrorKind::kInvalidArgument,
         "vocabulary size {}: expected at least {} (256 bytes and {} special tokens), below {}",
         options.vocab_size, specials + 256, specials, kMaxVocabulary);
  }
  if (options.max_token_bytes < 2) {
    fail(ErrorKind::kInvalidArgument, "longest token {} bytes: expected at least 2",
         options.max_token_bytes);
  }
  if (options.threads < 1 || options.threads > 1024) {
    fail(ErrorKind::kInvalidArgument, "{} threads: expected 1..1024", options.threads);
  }
  std::unordered_set<std::string> seen;
  for (const std::string& token : options.special_tokens) {
    if (token.empty() || !is_utf8(token)) {
      fail(ErrorKind::kInvalidArgument, "special token '{}': expected UTF-8 text, not empty",
           display_text(token));
    }
    if (!seen.insert(token).second) {
      fail(ErrorKind::kInvalidArgument, "special token '{}' is given twice", display_text(token));
    }
    const auto bytes = from_alphabet(token);
    if (bytes && bytes->size() == 1) {
      fail(ErrorKind::kInvalidArgument,
           "special token '{}' is how the vocabulary spells a byte; give it another name",
           display_text(token));
    }
  }
}

// Bytes in the order of the characters that spell them, as other trainers have it.
std::array<std::uint8_t, 256> bytes_in_order() {
  std::array<std::uint8_t, 256> bytes{};
  for (unsigned i = 0; i < 256; ++i) bytes[i] = static_cast<std::uint8_t>(i);
  std::sort(bytes.begin(), bytes.end(), [](std::uint8_t a, std::uint8_t b) {
    return decode_utf8(byte_to_alphabet(a), 0).value < decode_utf8(byte_to_alphabet(b), 0).value;
  });
  return bytes;
}

class Trainer {
 public:
  Trainer(const BpeTrainerOptions& options, const BpeTrainerCallback& progress)
      : options_(options), progress_(progress), pairs_(options.max_token_bytes) {
    result_.options = options;
  }

  BpeVocabulary run(std::span<const std::string_view> texts) {
    add_first_tokens();
    add_words(texts);
    while (static_cast<std::int32_t>(result_.tokens.size()) < options_.vocab_size) {
      const auto best = pairs_.take_best();
      if (!best || best->count < std::max<std::int64_t>(options_.min_frequency, 1)) break;
      merge(best->pair);
      if (result_.merges.size() % kReportEvery == 0) report();
    }
    report();
    return std::move(result_);
  }

 private:
  void add_token(std::string token) {
    pairs_.add_token(static_cast<std::int32_t>(token.size()));
    result_.tokens.push_back(std::move(token));
  }

  void add_first_tokens() {
    for (const std::string& token : options_.special_tokens) {
      if (const auto bytes = from_alphabet(token)) reserved_.insert(*bytes);
      add_token(token);
    }
    for (const std::uint8_t byte : bytes_in_order()) {
      byte_ids_[byte] = static_cast<std::int32_t>(result_.tokens.size());
      add_token(std::string(1, static_cast<char>(byte)));
    }
  }

  void add_words(std::span<const std::string_view> texts) {
    const Regex pattern(trainer_pattern(options_));
    const auto words =
        count_words(texts, pattern, {options_.sample_bytes, options_.threads},
                    [this](std::int64_t done, std::int64_t total) {
                      using Stage = BpeTrainerProgress::Stage;
                      return !progress_ || progress_({Stage::kCounting, done, total});
                    });
    std::vector<std::int32_t> tokens;
    for (const WordCount& word : words) {
      if (word.word.size() < 2) continue;
      tokens.clear();
      for (const char byte : word.word)
        tokens.push_back(byte_ids_[static_cast<std::uint8_t>(byte)]);
      pairs_.add_word(tokens, word.count);
    }
    pairs_.start();
  }

  void merge(PairCounts::Pair pair) {
    std::string token = result_.tokens[static_cast<std::size_t>(pair.first)] +
                        result_.tokens[static_cast<std::size_t>(pair.second)];
    // A word of the text must never become a special token: such a pair stays as it is.
    if (reserved_.contains(token)) return;
    const auto known = merged_ids_.find(token);
    std::int32_t id = static_cast<std::int32_t>(result_.tokens.size());
    if (known != merged_ids_.end()) {
      id = known->second;
    } else {
      merged_ids_.emplace(token, id);
      add_token(std::move(token));
    }
    result_.merges.push_back(pair);
    pairs_.merge(pair, id);
  }

  void report() {
    if (!progress_) return;
    const auto done = static_cast<std::int64_t>(result_.tokens.size());
    if (!progress_({BpeTrainerProgress::Stage::kMerging, done, options_.vocab_size})) {
      fail(ErrorKind::kInterrupted, "training the tokenizer was stopped at {} tokens", done);
    }
  }

  const BpeTrainerOptions& options_;
  const BpeTrainerCallback& progress_;
  PairCounts pairs_;
  BpeVocabulary result_;
  std::array<std::int32_t, 256> byte_ids_{};
  std::unordered_set<std::string> reserved_;  // bytes that a special token is spelled like
  std::unordered_map<std::string, std::int32_t> merged_ids_;
};

}  // namespace

BpeVocabulary train_bpe(std::span<const std::string_view> texts, const BpeTrainerOptions& options,
                        const BpeTrainerCallback& progress) {
  check(options);
  return Trainer(options, progress).run(texts);
}

}  // namespace conclave::text
