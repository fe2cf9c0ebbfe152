#include "text/jinja/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>
#include <span>

#include "text/code_points.h"
#include "text/utf8.h"

namespace conclave::text::jinja {
namespace {

struct FullMapping {
  char32_t from;
  const char* to;
};

#include "text/jinja/unicode_case.inc"

const char* find_full(std::span<const FullMapping> table, char32_t c) {
  const auto at = std::lower_bound(table.begin(), table.end(), c,
                                   [](const FullMapping& m, char32_t v) { return m.from < v; });
  return at != table.end() && at->from == c ? at->to : nullptr;
}

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool ascii_alnum(char32_t c) {
  return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

}  // namespace

bool is_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f);
  return is_white_space(c);
}

std::size_t lstrip_begin(std::string_view text, std::size_t begin, std::size_t end) {
  while (begin < end) {
    const Utf8Char c = decode_utf8(text, begin);
    if (!is_space(c.value)) break;
    begin += c.size;
  }
  return begin;
}

std::size_t rstrip_end(std::string_view text, std::size_t begin, std::size_t end) {
  while (begin < end) {
    const Utf8Char c = decode_utf8_before(text, end);
    if (!is_space(c.value)) break;
    end -= c.size;
  }
  return end;
}

std::size_t name_end(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const Utf8Char c = decode_utf8(text, at);
    if (!is_word(c.value)) break;
    at += c.size;
  }
  return at;
}

bool is_identifier(std::string_view text) {
  if (text.empty()) return false;
  const Utf8Char first = decode_utf8(text, 0);
  if (first.value != U'_' && !is_alpha(first.value) &&
      category(first.value) != UTF8PROC_CATEGORY_NL) {
    return false;
  }
  for (std::size_t i = first.size; i < text.size();) {
    const Utf8Char c = decode_utf8(text, i);
    const auto kind = category(c.value);
    if (!is_word(c.value) && kind != UTF8PROC_CATEGORY_MN && kind != UTF8PROC_CATEGORY_MC &&
        kind != UTF8PROC_CATEGORY_PC) {
      return false;
    }
    i += c.size;
  }
  return true;
}

bool is_alpha(char32_t c) {
  if (c < 0x80) return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
  switch (category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return true;
    default:
      return false;
  }
}

bool is_decimal(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  return category(c) == UTF8PROC_CATEGORY_ND;
}

bool is_digit(char32_t c) { return is_decimal(c) || contains(kOtherDigits, c); }

bool is_numeric(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  switch (category(c)) {
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return true;
    default:
      return contains(kOtherNumbers, c);
  }
}

bool is_word(char32_t c) {
  if (c < 0x80) return ascii_alnum(c) || c == '_';
  return is_alpha(c) || is_numeric(c);
}

bool is_printable(char32_t c) {
  if (c < 0x7f) return c >= 0x20;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

bool is_upper(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z';
  return contains(kUppercase, c);
}

bool is_lower(char32_t c) {
  if (c < 0x80) return c >= 'a' && c <= 'z';
  return contains(kLowercase, c);
}

bool is_title(char32_t c) { return c >= 0x80 && category(c) == UTF8PROC_CATEGORY_LT; }

bool is_cased(char32_t c) { return is_upper(c) || is_lower(c) || is_title(c); }

bool is_case_ignorable(char32_t c) {
  switch (c) {
    case U'\'':
    case U'.':
    case U':':
    case 0xb7:
    case 0x387:
    case 0x55f:
    case 0x5f4:
    case 0x2018:
    case 0x2019:
    case 0x2024:
    case 0x2027:
    case 0xfe13:
    case 0xfe52:
    case 0xfe55:
    case 0xff07:
    case 0xff0e:
    case 0xff1a:
      return true;
    default:
      break;
  }
  switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return false;
  }
}

int decimal_value(char32_t c) {
  if (c < 0x80) return static_cast<int>(c - U'0');
  // The ten digits of a script stand in a row that begins with its zero.
  char32_t zero = c;
  while (c - zero < 9 && is_decimal(zero - 1)) --zero;
  // Rows may touch (mathematical digits): they begin at multiples of ten from the first.
  if (c >= 0x1d7ce && c <= 0x1d7ff) return static_cast<int>((c - 0x1d7ce) % 10);
  return static_cast<int>(c - zero);
}

void append_mapped(std::string& out, char32_t c, CaseMapping mapping) {
  const char* full = nullptr;
  const auto code = static_cast<utf8proc_int32_t>(c);
  utf8proc_int32_t simple = code;
  switch (mapping) {
    case CaseMapping::kUpper:
      full = c < 0x80 ? nullptr : find_full(kFullUpper, c);
      simple = utf8proc_toupper(code);
      break;
    case CaseMapping::kTitle:
      full = c < 0x80 ? nullptr : find_full(kFullTitle, c);
      simple = utf8proc_totitle(code);
      break;
    case CaseMapping::kFold:
      full = c < 0x80 ? nullptr : find_full(kFold, c);
      simple = utf8proc_tolower(code);
      break;
    case CaseMapping::kLower:
      if (c == 0x130) full = "i\u0307";
      simple = utf8proc_tolower(code);
      break;
  }
  if (full != nullptr) {
    out += full;
  } else {
    append_utf8(out, static_cast<char32_t>(simple));
  }
}

}  // namespace conclave::text::jinja
