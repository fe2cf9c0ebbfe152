#include "text/word_counter.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <unordered_map>

#include "base/error.h"
#include "sys/thread_pool.h"
#include "text/hash.h"

namespace conclave::text {
namespace {

// Large enough that words cut at block ends do not count, small enough to share among threads and
// to sample evenly.
constexpr std::size_t kBlockBytes = 256 * 1024;
constexpr std::size_t kSampledBlockBytes = 16 * 1024;
// How far behind a block's end the end of a line is looked for.
constexpr std::size_t kLineBytes = 16 * 1024;

struct SeededHash {
  std::uint64_t seed;
  std::size_t operator()(std::string_view word) const { return hash_bytes(word, seed); }
};
using Counts = std::unordered_map<std::string_view, std::int64_t, SeededHash>;

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// Where a block that should have some `bytes` ends; text.size() > bytes + kLineBytes. Best is the
// end of a line behind a character and before a letter, where every pattern cuts anyway.
std::size_t block_end(std::string_view text, std::size_t bytes) {
  std::size_t any_line = 0;
  for (std::size_t at = text.find('\n', bytes); at < bytes + kLineBytes;
       at = text.find('\n', at + 1)) {
    if (static_cast<unsigned char>(text[at - 1]) > ' ' && is_letter(text[at + 1])) return at + 1;
    if (any_line == 0) any_line = at + 1;
  }
  if (any_line != 0) return any_line;
  std::size_t end = bytes;
  while ((static_cast<unsigned char>(text[end]) & 0xc0u) == 0x80u && end > bytes - 4) --end;
  return end;
}

void append_blocks(std::string_view text, std::size_t bytes, std::vector<std::string_view>& out) {
  while (text.size() > bytes + kLineBytes) {
    const std::size_t end = block_end(text, bytes);
    out.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  if (!text.empty()) out.push_back(text);
}

// Every block, or of n blocks every one at which share * i passes a whole number.
std::vector<std::string_view> choose_blocks(std::span<const std::string_view> texts,
                                            std::int64_t sample_bytes) {
  std::int64_t total = 0;
  for (const std::string_view text : texts) total += static_cast<std::int64_t>(text.size());
  const bool sampled = sample_bytes > 0 && sample_bytes < total;
  std::vector<std::string_view> blocks;
  for (const std::string_view text : texts) {
    append_blocks(text, sampled ? kSampledBlockBytes : kBlockBytes, blocks);
  }
  if (!sampled) return blocks;
  const double share = static_cast<double>(sample_bytes) / static_cast<double>(total);
  std::vector<std::string_view> chosen;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const auto before = static_cast<std::int64_t>(share * static_cast<double>(i));
    const auto after = static_cast<std::int64_t>(share * static_cast<double>(i + 1));
    if (after > before || (i == 0 && share > 0)) chosen.push_back(blocks[i]);
  }
  return chosen;
}

// What the threads share. A thread that fails leaves its error and stops the others.
class Job {
 public:
  Job(std::span<const std::string_view> blocks, const Regex& pattern,
      const std::function<bool(std::int64_t, std::int64_t)>& progress)
      : blocks_(blocks), pattern_(pattern), progress_(progress) {
    for (const std::string_view block : blocks) total_ += static_cast<std::int64_t>(block.size());
  }

  void work(int thread, Counts& counts, std::exception_ptr& error) noexcept {
    try {
      RegexScratch scratch;
      std::vector<RegexPart> parts;
      for (std::size_t i; !stop_ && (i = next_.fetch_add(1)) < blocks_.size();) {
        const std::string_view block = blocks_[i];
        parts.clear();
        pattern_.split(block, 0, scratch, parts);
        for (const RegexPart& part : parts) {
          if (part.begin < part.end) ++counts[block.substr(part.begin, part.end - part.begin)];
        }
        const std::int64_t done = done_ += static_cast<std::int64_t>(block.size());
        if (thread == 0 && progress_ && !progress_(done, total_)) {
          fail(ErrorKind::kInterrupted, "counting words was stopped");
        }
      }
    } catch (...) {
      error = std::current_exception();
      stop_ = true;
    }
  }

 private:
  std::span<const std::string_view> blocks_;
  const Regex& pattern_;
  const std::function<bool(std::int64_t, std::int64_t)>& progress_;
  std::int64_t total_ = 0;
  std::atomic<std::size_t> next_{0};
  std::atomic<std::int64_t> done_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace

std::vector<WordCount> count_words(
    std::span<const std::string_view> texts, const Regex& pattern, const WordCountOptions& options,
    const std::function<bool(std::int64_t, std::int64_t)>& progress) {
  const auto blocks = choose_blocks(texts, options.sample_bytes);
  const auto n = static_cast<std::size_t>(options.threads);
  std::vector<Counts> counts(n, Counts(1024, SeededHash{random_seed()}));
  std::vector<std::exception_ptr> errors(n);
  Job job(blocks, pattern, progress);
  sys::ThreadPool pool(options.threads);
  pool.run([&](int thread) {
    job.work(thread, counts[static_cast<std::size_t>(thread)],
             errors[static_cast<std::size_t>(thread)]);
  });
  for (const auto& error : errors) {
    if (error) std::rethrow_exception(error);
  }
  for (std::size_t i = 1; i < n; ++i) {
    for (const auto& [word, count] : counts[i]) counts[0][word] += count;
    counts[i] = Counts(0, SeededHash{0});
  }
  std::vector<WordCount> words;
  words.reserve(counts[0].size());
  for (const auto& [word, count] : counts[0]) words.push_back({word, count});
  std::sort(words.begin(), words.end(),
            [](const WordCount& a, const WordCount& b) { return a.word < b.word; });
  return words;
}

}  // namespace conclave::text
