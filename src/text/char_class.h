// A character class of a pattern, [...] or an escape like \p{L}, and how PCRE2 spells it.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "text/code_points.h"

namespace conclave::text {

// What a class consists of. A set is a union of terms; a class is an intersection of unions
// (one, unless && occurs), then perhaps negated.
struct ClassTerm {
  enum class Kind { kRanges, kProperty, kClass } kind = Kind::kRanges;
  CodePoints ranges;     // kRanges
  std::string property;  // kProperty: items between [ and ] as PCRE2 spells them
  bool negated = false;  // kProperty: all characters but those
  int nested = 0;        // kClass: index of the class
};

struct CharClass {
  bool negated = false;
  std::vector<std::vector<ClassTerm>> operands;
};

// A term for \p{name}; throws Error(kBadFile) for names that are not properties' names.
ClassTerm property_term(std::string_view name, bool negated);
// A term for \s \w \d \h and their negations, by letter; upper case is negated.
ClassTerm escape_term(char letter);
// A term for [:name:]; throws Error(kBadFile).
ClassTerm posix_term(std::string_view name, bool negated);

// Spells classes; remembers the sets that it had to work out.
class ClassWriter {
 public:
  // `classes` may refer to one another by index (ClassTerm::nested); a class only to later ones.
  std::string write(const std::vector<CharClass>& classes, int index);
  std::string write(const ClassTerm& term);

 private:
  bool append_items(const std::vector<CharClass>& classes, const CharClass& what, std::string& out);
  CodePoints evaluate(const std::vector<CharClass>& classes, int index);
  CodePoints evaluate(const std::vector<CharClass>& classes, const ClassTerm& term);
  const CodePoints& property_members(const std::string& items);

  std::map<std::string, CodePoints> members_;
};

// "a-z" as items of a PCRE2 class.
void append_ranges(std::string& out, const CodePoints& ranges);

}  // namespace conclave::text
