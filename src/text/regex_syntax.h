// Patterns in published tokenizers are written for Oniguruma with Ruby syntax; this turns them into
// PCRE2's. The differences that matter:
//   - \s \w \d \h \b and POSIX classes cover other characters than PCRE2's;
//   - characters that Unicode assigned after version 14 have no category in older PCRE2;
//   - character classes may nest and intersect: [\p{L}&&[^\p{Han}]];
//   - (?m:...) is PCRE2's (?s:...); ^ and $ are at every line; {,n} is {0,n}; \uHHHH is a
//   character.
#pragma once

#include <string>
#include <string_view>

namespace conclave::text {

// Throws Error(kUnsupported) for constructs that have no equal, such as subexpression calls, and
// Error(kBadFile) for what is not a pattern. What PCRE2 itself refuses is found on compiling.
std::string to_pcre2(std::string_view pattern);

}  // namespace conclave::text
