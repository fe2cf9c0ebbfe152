// Trains a byte-level BPE vocabulary from texts (Sennrich et al. 2016, "Neural Machine Translation
// of Rare Words with Subword Units"; bytes as in GPT-2) and writes it as a tokenizer.json that
// Conclave and Hugging Face `tokenizers` load and encode alike. Any script works: what the
// vocabulary lacks is spelled in bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace conclave::text {

enum class PreTokenizerStyle {
  kGpt2,  // GPT-2's pattern: words with their leading space, runs of digits, of marks, of spaces
  kGpt4,  // cl100k's: also contractions in any case, at most 3 digits together, line ends apart
};

struct BpeTrainerOptions {
  // Tokens in all: special tokens, 256 bytes, merges. At least 256 + special_tokens.size().
  std::int32_t vocab_size = 4096;
  // Get the ids 0, 1, ... in this order. Distinct, not empty.
  std::vector<std::string> special_tokens = {"<|endoftext|>"};
  // A pair that occurs less often is not merged.
  std::int64_t min_frequency = 2;
  PreTokenizerStyle style = PreTokenizerStyle::kGpt4;
  // Each digit is a piece of its own: arithmetic is learnt more easily.
  bool split_digits = false;
  // Longest token in bytes.
  std::int32_t max_token_bytes = 64;
  // At most this many bytes of text are counted, spread evenly over all of it; 0 takes all.
  std::int64_t sample_bytes = 0;
  // Threads for counting words, at least 1. The result does not depend on it.
  int threads = 1;
};

struct BpeTrainerProgress {
  enum class Stage { kCounting, kMerging } stage = Stage::kCounting;
  std::int64_t done = 0;   // bytes counted, or tokens in the vocabulary
  std::int64_t total = 0;  // bytes in all, or options.vocab_size
};

// Called now and then, from the calling thread only; returning false stops the training with
// Error(kInterrupted).
using BpeTrainerCallback = std::function<bool(const BpeTrainerProgress&)>;

struct BpeVocabulary {
  BpeTrainerOptions options;
  // Every token by id, as bytes; special tokens as their text.
  std::vector<std::string> tokens;
  // Ids of the left and right part of each merge, best first; it makes the token that is the two
  // joined.
  std::vector<std::pair<std::int32_t, std::int32_t>> merges;
};

// Learns a vocabulary; texts may be any bytes and are borrowed. When the texts have no more pairs
// to merge, the vocabulary is smaller than asked. Equal counts are settled by the smaller pair of
// ids, so texts and options alone decide the result. Merges that would spell a special token are
// left out. Throws Error(kInvalidArgument) for options
// that cannot be met.
BpeVocabulary train_bpe(std::span<const std::string_view> texts, const BpeTrainerOptions& options,
                        const BpeTrainerCallback& progress = {});

// The vocabulary as the text of a tokenizer.json.
std::string to_tokenizer_json(const BpeVocabulary& vocabulary);

// Writes a file in one step (temporary file beside it, flushed, then renamed), so that a reader
// sees the old or the new one. Throws Error(kIo).
void write_tokenizer_json(const BpeVocabulary& vocabulary, const std::filesystem::path& path);

}  // namespace conclave::text
