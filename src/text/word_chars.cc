#include "text/word_chars.h"

#include <utf8proc.h>

#include "text/code_points.h"
#include "text/unicode_recent.h"

namespace conclave::text {
namespace {

bool in_word_category(char32_t value) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(value))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return false;
  }
}

CodePoints make_recent() {
  CodePoints all;
  for (const char* category : {"L", "M", "Nd", "Nl", "Pc"}) {
    for (const CodeRange& range : recent_in_category(category)) all.push_back(range);
  }
  return normalized(std::move(all));
}

}  // namespace

bool is_word_char(char32_t value) {
  if (value < 0x80) {
    return (value >= 'a' && value <= 'z') || (value >= 'A' && value <= 'Z') ||
           (value >= '0' && value <= '9') || value == '_';
  }
  if (value > kLastCodePoint) return false;
  if (in_word_category(value)) return true;
  // Letters in circles and squares are Alphabetic; U+200C and U+200D are Join_Control.
  if (value == 0x200c || value == 0x200d || (value >= 0x24b6 && value <= 0x24e9) ||
      (value >= 0x1f130 && value <= 0x1f149) || (value >= 0x1f150 && value <= 0x1f169) ||
      (value >= 0x1f170 && value <= 0x1f189)) {
    return true;
  }
  static const CodePoints kRecent = make_recent();
  return contains(kRecent, value);
}

}  // namespace conclave::text
