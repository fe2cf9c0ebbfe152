#include "text/unicode_sets.h"

#include <algorithm>
#include <iterator>

#include "text/utf8.h"

namespace conclave::text {
namespace {

// Characters first, first + step, ..., last; each plus distance is its lower case.
struct LowercaseRange {
  char32_t first;
  char32_t last;
  char32_t step;
  std::int32_t distance;
};

#include "text/unicode_sets.inc"

char32_t lower(char32_t c) {
  const auto after = std::upper_bound(
      std::begin(kLowercase), std::end(kLowercase), c,
      [](char32_t value, const LowercaseRange& range) { return value < range.first; });
  if (after == std::begin(kLowercase)) return c;
  const LowercaseRange& range = *std::prev(after);
  if (c > range.last || (c - range.first) % range.step != 0) return c;
  return static_cast<char32_t>(static_cast<std::int32_t>(c) + range.distance);
}

}  // namespace

std::span<const CodeRange> punctuation() { return kPunctuation; }
std::span<const CodeRange> bert_control() { return kBertControl; }
std::span<const CodeRange> bert_marks() { return kBertMarks; }
std::span<const CodeRange> combining_marks() { return kCombiningMarks; }
std::span<const CodeRange> inert_in_normal_forms() { return kInert; }

std::string lowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Char c = decode_utf8(text, i);
    if (c.value == kInvalidChar) {
      out.push_back(text[i]);
    } else if (c.value == 0x130) {
      out += "i\xcc\x87";  // capital I with dot: the only character with two in lower case
    } else {
      append_utf8(out, lower(c.value));
    }
    i += c.size;
  }
  return out;
}

}  // namespace conclave::text
