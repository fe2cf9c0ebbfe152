#include "text/sentencepiece_normalizer.h"

#include <utility>

#include "text/utf8.h"

namespace conclave::text {
namespace {

constexpr std::string_view kVisibleSpace = "\xe2\x96\x81";

class SentencePieceNormalizer : public Normalizer {
 public:
  explicit SentencePieceNormalizer(SentencePieceNormalizerConfig config)
      : config_(std::move(config)), space_(config_.escape_whitespaces ? kVisibleSpace : " ") {
    if (!config_.charsmap.empty()) map_.emplace(config_.charsmap);
    config_.charsmap = {};
    std::vector<std::pair<std::string_view, std::int32_t>> tokens;
    for (const std::string& token : config_.user_defined) tokens.emplace_back(token, 0);
    user_defined_ = TokenTrie(std::move(tokens));
    config_.user_defined = {};
  }

  void apply(NormalText& text, RegexScratch&) const override {
    std::string_view rest = text.text;
    const bool trim = config_.remove_extra_whitespaces;
    while (trim && !rest.empty()) {
      const Step step = next(rest);
      if (step.text != " ") break;
      rest.remove_prefix(step.size);
    }
    std::string out;
    if (!rest.empty()) {
      const bool prefix = config_.add_dummy_prefix;
      out.reserve(rest.size() + rest.size() / 2 + 8);
      if (prefix && !config_.whitespace_as_suffix) out += space_;
      normalize(rest, out);
      while (trim && std::string_view(out).ends_with(space_))
        out.resize(out.size() - space_.size());
      if (prefix && config_.whitespace_as_suffix) out += space_;
    }
    text.text = std::move(out);
    text.at_start = false;
  }

 private:
  struct Step {
    std::string_view text;
    std::size_t size = 0;  // bytes of the input
  };

  void normalize(std::string_view rest, std::string& out) const {
    bool after_space = config_.remove_extra_whitespaces;
    while (!rest.empty()) {
      Step step = next(rest);
      rest.remove_prefix(step.size);
      while (after_space && step.text.starts_with(' ')) step.text.remove_prefix(1);
      if (step.text.empty()) continue;
      for (const char c : step.text) {
        if (c == ' ') {
          out += space_;
        } else {
          out.push_back(c);
        }
      }
      check_growth(out.size());
      after_space = config_.remove_extra_whitespaces && step.text.back() == ' ';
    }
  }

  // What the beginning of `text` becomes.
  Step next(std::string_view text) const {
    if (const std::size_t size = user_defined_size(text)) return {text.substr(0, size), size};
    if (map_) {
      const CharsMap::Found found = map_->longest(text);
      if (found.size > 0) return {found.replacement, found.size};
    }
    const Utf8Char c = decode_utf8(text, 0);
    if (c.value == kInvalidChar && config_.replace_invalid) return {kReplacement, 1};
    return {text.substr(0, c.size), c.size};
  }

  std::size_t user_defined_size(std::string_view text) const {
    if (user_defined_.empty()) return 0;
    std::size_t size = 0;
    std::uint32_t node = TokenTrie::kRoot;
    for (std::size_t i = 0; i < text.size();) {
      node = user_defined_.step(node, text[i++]);
      if (node == TokenTrie::kNone) break;
      if (user_defined_.value(node) >= 0) size = i;
    }
    return size;
  }

  SentencePieceNormalizerConfig config_;
  std::string_view space_;
  std::optional<CharsMap> map_;
  TokenTrie user_defined_;
};

}  // namespace

std::unique_ptr<Normalizer> make_sentencepiece_normalizer(SentencePieceNormalizerConfig config) {
  return std::make_unique<SentencePieceNormalizer>(std::move(config));
}

}  // namespace conclave::text
