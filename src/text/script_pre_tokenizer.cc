// UnicodeScripts: cuts where the script of the text changes. Characters without a script, such as
// spaces, stay with what stands before them; at the beginning of a text they are dropped.
#include <algorithm>
#include <iterator>

#include "text/pre_tokenizer.h"
#include "text/utf8.h"

namespace conclave::text {
namespace {

struct ScriptRange {
  char32_t first;
  char32_t last;
  int script;
};

#include "text/unicode_scripts.inc"

// 0 belongs to any script: spaces, and characters that the table does not have.
int script_of(char32_t c) {
  const auto after =
      std::upper_bound(std::begin(kScripts), std::end(kScripts), c,
                       [](char32_t value, const ScriptRange& row) { return value < row.first; });
  if (c == kInvalidChar || after == std::begin(kScripts)) return 0;
  const ScriptRange& row = *std::prev(after);
  return c <= row.last ? row.script : 0;
}

class ScriptPreTokenizer : public PreTokenizer {
 public:
  void apply(Pieces& pieces, RegexScratch&) const override {
    pieces.spell_out();
    split_pieces(pieces, SplitBehavior::kIsolated,
                 [&](const Piece& piece, std::vector<RegexPart>& parts) {
                   cut(pieces.view(piece), piece.begin, parts);
                 });
  }

 private:
  static void cut(std::string_view text, std::uint32_t begin, std::vector<RegexPart>& parts) {
    std::size_t from = 0;
    int last = -1;  // before the first character that has a script
    for (std::size_t i = 0; i < text.size();) {
      const Utf8Char c = decode_utf8(text, i);
      const int script = script_of(c.value);
      if (script != 0) {
        if (script != last) {
          if (last != -1) {
            parts.push_back({begin + static_cast<std::uint32_t>(from),
                             begin + static_cast<std::uint32_t>(i), true});
          }
          from = i;
        }
        last = script;
      }
      i += c.size;
    }
    if (last == -1) return;
    parts.push_back({begin + static_cast<std::uint32_t>(from),
                     begin + static_cast<std::uint32_t>(text.size()), true});
  }
};

}  // namespace

std::unique_ptr<PreTokenizer> make_script_pre_tokenizer(const std::string& type, const JsonView&) {
  if (type != "UnicodeScripts") return nullptr;
  return std::make_unique<ScriptPreTokenizer>();
}

}  // namespace conclave::text
