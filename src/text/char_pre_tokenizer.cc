// Pre-tokenizers that cut at kinds of characters: Whitespace, WhitespaceSplit, Punctuation,
// BertPreTokenizer, CharDelimiterSplit, FixedLength.
#include <utility>

#include "base/error.h"
#include "text/pre_tokenizer.h"
#include "text/unicode_sets.h"
#include "text/utf8.h"
#include "text/word_chars.h"

namespace conclave::text {
namespace {

using IsDelimiter = bool (*)(char32_t);

bool is_space(char32_t c) { return c != kInvalidChar && is_white_space(c); }
bool is_punctuation(char32_t c) { return c != kInvalidChar && contains(punctuation(), c); }

// Every character that is a delimiter is a match of its own.
template <class Is>
void cut_at_chars(std::string_view text, std::uint32_t begin, const Is& is_delimiter,
                  std::vector<RegexPart>& parts) {
  const auto shifted = [begin](std::size_t at) { return begin + static_cast<std::uint32_t>(at); };
  std::size_t done = 0;
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Char c = decode_utf8(text, i);
    if (is_delimiter(c.value)) {
      if (done < i) parts.push_back({shifted(done), shifted(i), false});
      done = i + c.size;
      parts.push_back({shifted(i), shifted(done), true});
    }
    i += c.size;
  }
  if (done < text.size()) parts.push_back({shifted(done), shifted(text.size()), false});
}

template <class Is>
void split_at_chars(Pieces& pieces, const Is& is_delimiter, SplitBehavior behavior) {
  pieces.spell_out();
  split_pieces(pieces, behavior, [&](const Piece& piece, std::vector<RegexPart>& parts) {
    cut_at_chars(pieces.view(piece), piece.begin, is_delimiter, parts);
  });
}

class CharPreTokenizer : public PreTokenizer {
 public:
  CharPreTokenizer(IsDelimiter is_delimiter, SplitBehavior behavior)
      : is_delimiter_(is_delimiter), behavior_(behavior) {}
  void apply(Pieces& pieces, RegexScratch&) const override {
    split_at_chars(pieces, is_delimiter_, behavior_);
  }

 private:
  IsDelimiter is_delimiter_;
  SplitBehavior behavior_;
};

class BertPreTokenizer : public PreTokenizer {
 public:
  void apply(Pieces& pieces, RegexScratch&) const override {
    split_at_chars(pieces, &is_space, SplitBehavior::kRemoved);
    split_at_chars(pieces, &is_punctuation, SplitBehavior::kIsolated);
  }
};

class DelimiterPreTokenizer : public PreTokenizer {
 public:
  explicit DelimiterPreTokenizer(char32_t delimiter) : delimiter_(delimiter) {}
  void apply(Pieces& pieces, RegexScratch&) const override {
    split_at_chars(
        pieces, [this](char32_t c) { return c == delimiter_; }, SplitBehavior::kRemoved);
  }

 private:
  char32_t delimiter_;
};

// Runs of word characters and runs of others; white space goes.
class WhitespacePreTokenizer : public PreTokenizer {
 public:
  void apply(Pieces& pieces, RegexScratch&) const override {
    pieces.spell_out();
    split_pieces(pieces, SplitBehavior::kRemoved,
                 [&](const Piece& piece, std::vector<RegexPart>& parts) {
                   cut(pieces.view(piece), piece.begin, parts);
                 });
  }

 private:
  enum class Kind { kSpace, kWord, kOther };
  static Kind kind_of(char32_t c) {
    if (c == kInvalidChar) return Kind::kOther;
    if (is_word_char(c)) return Kind::kWord;
    return is_white_space(c) ? Kind::kSpace : Kind::kOther;
  }
  static void cut(std::string_view text, std::uint32_t begin, std::vector<RegexPart>& parts) {
    std::size_t from = 0;
    Kind kind = kind_of(decode_utf8(text, 0).value);
    for (std::size_t i = 0; i <= text.size();) {
      const Utf8Char c = i < text.size() ? decode_utf8(text, i) : Utf8Char{};
      const Kind next = i < text.size() ? kind_of(c.value) : kind;
      if (next != kind || i == text.size()) {
        parts.push_back({begin + static_cast<std::uint32_t>(from),
                         begin + static_cast<std::uint32_t>(i), kind == Kind::kSpace});
        from = i;
        kind = next;
      }
      i += c.size;
    }
  }
};

class FixedLengthPreTokenizer : public PreTokenizer {
 public:
  explicit FixedLengthPreTokenizer(std::int64_t length) : length_(length) {}
  void apply(Pieces& pieces, RegexScratch&) const override {
    pieces.spell_out();
    split_pieces(pieces, SplitBehavior::kIsolated,
                 [&](const Piece& piece, std::vector<RegexPart>& parts) {
                   std::uint32_t from = piece.begin;
                   std::int64_t chars = 0;
                   for (std::uint32_t i = piece.begin; i < piece.end;) {
                     const std::string_view rest(pieces.text.data() + i, piece.end - i);
                     i += decode_utf8(rest, 0).size;
                     if (++chars < length_ && i < piece.end) continue;
                     parts.push_back({from, i, true});
                     from = i;
                     chars = 0;
                   }
                 });
  }

 private:
  std::int64_t length_;
};

}  // namespace

std::unique_ptr<PreTokenizer> make_char_pre_tokenizer(const std::string& type,
                                                      const JsonView& config) {
  if (type == "Whitespace") return std::make_unique<WhitespacePreTokenizer>();
  if (type == "BertPreTokenizer") return std::make_unique<BertPreTokenizer>();
  if (type == "WhitespaceSplit") {
    return std::make_unique<CharPreTokenizer>(&is_space, SplitBehavior::kRemoved);
  }
  if (type == "Punctuation") {
    const SplitBehavior behavior = config.has("behavior")
                                       ? parse_split_behavior(config.at("behavior"))
                                       : SplitBehavior::kIsolated;
    return std::make_unique<CharPreTokenizer>(&is_punctuation, behavior);
  }
  if (type == "CharDelimiterSplit") {
    const std::string& delimiter = config.text("delimiter");
    if (delimiter.empty() || decode_utf8(delimiter, 0).size != delimiter.size()) {
      config.at("delimiter").wrong("one character");
    }
    return std::make_unique<DelimiterPreTokenizer>(decode_utf8(delimiter, 0).value);
  }
  if (type == "FixedLength") {
    const std::int64_t length = config.integer_or("length", 5);
    if (length < 1) config.at("length").wrong("a length of at least 1");
    return std::make_unique<FixedLengthPreTokenizer>(length);
  }
  return nullptr;
}

}  // namespace conclave::text
