// Counts the pieces that a pattern cuts texts into.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"

namespace conclave::text {

struct WordCount {
  std::string_view word;  // borrowed from the texts
  std::int64_t count = 0;
};

struct WordCountOptions {
  std::int64_t sample_bytes = 0;  // 0: everything
  int threads = 1;
};

// Sorted by word. Texts are taken in blocks that end at a line's end where there is one, so a piece
// never spans two of them; blocks do not depend on the threads. `progress(bytes done, bytes)` comes
// from the calling thread; returning false throws Error(kInterrupted).
std::vector<WordCount> count_words(std::span<const std::string_view> texts, const Regex& pattern,
                                   const WordCountOptions& options,
                                   const std::function<bool(std::int64_t, std::int64_t)>& progress);

}  // namespace conclave::text
