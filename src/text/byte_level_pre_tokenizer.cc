// ByteLevel: words by GPT-2's pattern (Radford et al. 2019, "Language Models are Unsupervised
// Multitask Learners"), then bytes in the byte alphabet.
#include <optional>
#include <utility>

#include "text/pre_tokenizer.h"

namespace conclave::text {
namespace {

constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

class ByteLevelPreTokenizer : public PreTokenizer {
 public:
  ByteLevelPreTokenizer(bool add_prefix_space, bool use_regex)
      : add_prefix_space_(add_prefix_space) {
    if (use_regex) regex_.emplace(kGpt2Pattern);
  }

  void apply(Pieces& pieces, RegexScratch& scratch) const override {
    pieces.spell_out();
    if (add_prefix_space_) {
      rewrite_pieces(pieces, [](std::string_view text, bool, std::string& out) {
        if (!text.starts_with(' ')) out.push_back(' ');
        out += text;
      });
    }
    if (regex_) {
      split_pieces(pieces, SplitBehavior::kIsolated,
                   [&](const Piece& piece, std::vector<RegexPart>& parts) {
                     regex_->split(pieces.view(piece), piece.begin, scratch, parts);
                   });
    }
    pieces.byte_level = true;
  }

 private:
  bool add_prefix_space_;
  std::optional<Regex> regex_;
};

}  // namespace

std::unique_ptr<PreTokenizer> make_byte_level_pre_tokenizer(const std::string& type,
                                                            const JsonView& config) {
  if (type != "ByteLevel") return nullptr;
  return std::make_unique<ByteLevelPreTokenizer>(config.boolean_or("add_prefix_space", true),
                                                 config.boolean_or("use_regex", true));
}

}  // namespace conclave::text
