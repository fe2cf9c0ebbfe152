// Metaspace: spaces become a visible symbol, one may be put in front, and the text is cut before
// each of them.
#include <utility>

#include "base/error.h"
#include "text/pre_tokenizer.h"
#include "text/utf8.h"

namespace conclave::text {
namespace {

enum class Prepend { kFirst, kNever, kAlways };

class MetaspacePreTokenizer : public PreTokenizer {
 public:
  MetaspacePreTokenizer(std::string symbol, Prepend prepend, bool split)
      : symbol_(std::move(symbol)), prepend_(prepend), split_(split) {}

  void apply(Pieces& pieces, RegexScratch&) const override {
    rewrite_pieces(pieces, [this](std::string_view text, bool at_start, std::string& out) {
      const bool marked = text.starts_with(' ') || text.starts_with(symbol_);
      const bool prepend =
          prepend_ == Prepend::kAlways || (prepend_ == Prepend::kFirst && at_start);
      if (prepend && !marked) out += symbol_;
      for (const char c : text) {
        if (c == ' ') {
          out += symbol_;
        } else {
          out.push_back(c);
        }
      }
    });
    if (!split_) return;
    split_pieces(pieces, SplitBehavior::kMergedWithNext,
                 [&](const Piece& piece, std::vector<RegexPart>& parts) {
                   cut(pieces.view(piece), piece.begin, parts);
                 });
  }

 private:
  void cut(std::string_view text, std::uint32_t begin, std::vector<RegexPart>& parts) const {
    std::size_t from = 0;
    const auto shifted = [&](std::size_t at) { return begin + static_cast<std::uint32_t>(at); };
    for (std::size_t at; (at = text.find(symbol_, from)) != std::string_view::npos;) {
      if (at > from) parts.push_back({shifted(from), shifted(at), false});
      from = at + symbol_.size();
      parts.push_back({shifted(at), shifted(from), true});
    }
    if (from < text.size()) parts.push_back({shifted(from), shifted(text.size()), false});
  }

  std::string symbol_;
  Prepend prepend_;
  bool split_;
};

}  // namespace

std::unique_ptr<PreTokenizer> make_metaspace_pre_tokenizer(const std::string& type,
                                                           const JsonView& config) {
  if (type != "Metaspace") return nullptr;
  const std::string symbol = config.text_or("replacement", "\xe2\x96\x81");
  if (symbol.empty() || decode_utf8(symbol, 0).size != symbol.size()) {
    config.at("replacement").wrong("one character");
  }
  // Older files say add_prefix_space instead of a scheme.
  const bool prefix = config.boolean_or("add_prefix_space", true);
  const std::string scheme = config.text_or("prepend_scheme", prefix ? "always" : "never");
  Prepend prepend = Prepend::kAlways;
  if (scheme == "first") {
    prepend = Prepend::kFirst;
  } else if (scheme == "never") {
    prepend = Prepend::kNever;
  } else if (scheme != "always") {
    config.at("prepend_scheme").wrong("first, always or never");
  }
  return std::make_unique<MetaspacePreTokenizer>(symbol, prepend, config.boolean_or("split", true));
}

}  // namespace conclave::text
