// Split: cuts at a pattern or a plain string. Digits: cuts numbers apart from the rest, where
// numbers are those of Unicode 17.
#include <utility>

#include "base/error.h"
#include "text/pre_tokenizer.h"

namespace conclave::text {
namespace {

class SplitPreTokenizer : public PreTokenizer {
 public:
  SplitPreTokenizer(Regex regex, SplitBehavior behavior, bool invert)
      : regex_(std::move(regex)), behavior_(behavior), invert_(invert) {}

  void apply(Pieces& pieces, RegexScratch& scratch) const override {
    pieces.spell_out();
    split_pieces(pieces, behavior_, [&](const Piece& piece, std::vector<RegexPart>& parts) {
      regex_.split(pieces.view(piece), piece.begin, scratch, parts);
      if (invert_) {
        for (RegexPart& part : parts) part.match = !part.match;
      }
    });
  }

 private:
  Regex regex_;
  SplitBehavior behavior_;
  bool invert_;
};

Regex parse_pattern(const JsonView& pattern) {
  // Either {"Regex": "..."} or {"String": "..."}.
  if (pattern.has("Regex")) {
    return with_context("key '" + pattern.path() + "'",
                        [&] { return Regex(pattern.text("Regex")); });
  }
  return Regex::literal(pattern.text("String"));
}

}  // namespace

std::unique_ptr<PreTokenizer> make_split_pre_tokenizer(const std::string& type,
                                                       const JsonView& config) {
  if (type == "Split") {
    return std::make_unique<SplitPreTokenizer>(parse_pattern(config.at("pattern")),
                                               parse_split_behavior(config.at("behavior")),
                                               config.boolean_or("invert", false));
  }
  if (type == "Digits") {
    const bool single = config.boolean_or("individual_digits", false);
    return std::make_unique<SplitPreTokenizer>(
        Regex("[\\p{N}\\x{11de0}-\\x{11de9}\\x{16ff4}-\\x{16ff6}]"),
        single ? SplitBehavior::kIsolated : SplitBehavior::kContiguous, false);
  }
  return nullptr;
}

}  // namespace conclave::text
