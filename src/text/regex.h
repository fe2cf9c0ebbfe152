// Regular expressions of pre-tokenizers and normalizers: PCRE2, compiled to machine code where the
// system allows it, with a budget of backtracking so that no pattern can hang the process.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/code_points.h"

namespace conclave::text {

// A part of a text; parts of one split are in order and cover the text without gaps. A match may be
// empty.
struct RegexPart {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  bool match = false;
};

// What one thread needs while matching; any pattern may use it.
class RegexScratch {
 public:
  RegexScratch();
  ~RegexScratch();
  RegexScratch(const RegexScratch&) = delete;
  RegexScratch& operator=(const RegexScratch&) = delete;

 private:
  friend class Regex;
  struct Data;
  std::unique_ptr<Data> data_;
};

// An immutable pattern; safe to share between threads that each bring their scratch.
class Regex {
 public:
  // `pattern` in Oniguruma's syntax (see regex_syntax.h). Throws Error(kBadFile) where it is broken
  // and Error(kUnsupported) where it has no equal here.
  explicit Regex(std::string_view pattern);
  // A pattern that matches `text` itself.
  static Regex literal(std::string_view text);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  // Appends the parts of `text`, matches and what is between them, shifted by `shift`. Bytes that
  // are not UTF-8 match nothing and end the text for what stands before them. text.size() <= 2^31.
  // Throws Error(kUnsupported) when the pattern backtracks beyond a budget that grows with the text
  // (10 million steps and 256 for each byte).
  void split(std::string_view text, std::uint32_t shift, RegexScratch& scratch,
             std::vector<RegexPart>& parts) const;

 private:
  friend CodePoints class_members(const std::string& items);
  struct Code;
  struct Budget;
  Regex();
  // Searches from `position`; false when there is no further match.
  bool find(std::string_view text, std::size_t position, RegexScratch& scratch, Budget& budget,
            std::size_t& begin, std::size_t& end) const;
  void split_valid(std::string_view text, std::uint32_t shift, RegexScratch& scratch,
                   Budget& budget, std::vector<RegexPart>& parts) const;

  std::unique_ptr<Code> code_;
};

// Members of a PCRE2 character class, given as the items between [ and ].
CodePoints class_members(const std::string& items);

}  // namespace conclave::text
