#include "text/unicode_recent.h"

namespace conclave::text {
namespace {

struct Recent {
  char32_t first;
  char32_t last;
  char category[3];
};

constexpr Recent kRecent[] = {
#include "text/unicode_recent.inc"
};

}  // namespace

CodePoints recent_in_category(std::string_view category) {
  CodePoints out;
  for (const Recent& row : kRecent) {
    if (std::string_view(row.category).starts_with(category)) out.push_back({row.first, row.last});
  }
  return normalized(std::move(out));
}

CodePoints recent_in_script(std::string_view script) {
  if (script == "Han") return {{0x2b739, 0x2b739}, {0x2ebf0, 0x2ee5d}, {0x31350, 0x323af}};
  if (script == "Hiragana") return {{0x1b132, 0x1b132}};
  if (script == "Katakana") return {{0x1b155, 0x1b155}};
  return {};
}

}  // namespace conclave::text
