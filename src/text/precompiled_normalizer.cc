// Precompiled: SentencePiece's normalization table as Hugging Face `tokenizers` applies it,
// grapheme by grapheme and with the shortest key, where SentencePiece itself takes the longest
// everywhere.
#include <utf8proc.h>

#include <utility>

#include "base/error.h"
#include "text/base64.h"
#include "text/double_array.h"
#include "text/normalizer.h"
#include "text/utf8.h"

namespace conclave::text {
namespace {

// Graphemes of more bytes are always taken apart.
constexpr std::size_t kLongestGrapheme = 5;

class PrecompiledNormalizer : public Normalizer {
 public:
  explicit PrecompiledNormalizer(CharsMap map) : map_(std::move(map)) {}

  void apply(NormalText& text, RegexScratch&) const override {
    std::string out;
    out.reserve(text.text.size());
    const std::string_view whole = text.text;
    for (std::size_t begin = 0; begin < whole.size();) {
      const std::size_t end = grapheme_end(whole, begin);
      const std::string_view grapheme = whole.substr(begin, end - begin);
      begin = end;
      if (grapheme.size() <= kLongestGrapheme) {
        const CharsMap::Found found = map_.shortest(grapheme);
        if (found.size > 0) {
          out += found.replacement;
          continue;
        }
      }
      for (std::size_t i = 0; i < grapheme.size();) {
        const std::size_t size = decode_utf8(grapheme, i).size;
        const CharsMap::Found found = map_.shortest(grapheme.substr(i, size));
        out += found.size > 0 ? found.replacement : grapheme.substr(i, size);
        i += size;
      }
    }
    text.text = std::move(out);
  }

 private:
  static std::size_t grapheme_end(std::string_view text, std::size_t begin) {
    utf8proc_int32_t state = 0;
    Utf8Char c = decode_utf8(text, begin);
    std::size_t end = begin + c.size;
    while (end < text.size() && c.value != kInvalidChar) {
      const Utf8Char next = decode_utf8(text, end);
      if (next.value == kInvalidChar ||
          utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(c.value),
                                           static_cast<utf8proc_int32_t>(next.value), &state)) {
        break;
      }
      end += next.size;
      c = next;
    }
    return end;
  }

  CharsMap map_;
};

}  // namespace

std::unique_ptr<Normalizer> make_precompiled_normalizer(const std::string& type,
                                                        const JsonView& config) {
  if (type != "Precompiled") return nullptr;
  const JsonView map = config.at("precompiled_charsmap");
  return with_context("key '" + map.path() + "'", [&] {
    return std::make_unique<PrecompiledNormalizer>(CharsMap(decode_base64(map.text())));
  });
}

}  // namespace conclave::text
