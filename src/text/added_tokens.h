// Tokens that were added to a vocabulary: they are cut out of the text before anything else, some
// from the text as it is, some from the normalized text.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "text/json_view.h"
#include "text/normalizer.h"
#include "text/pattern_set.h"
#include "text/vocabulary.h"

namespace conclave::text {

struct AddedToken {
  std::string content;
  std::int32_t id = -1;      // -1: that of the vocabulary, or the next free one
  bool single_word = false;  // not inside words
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space behind it
  bool normalized = true;    // looked for in the normalized text
  bool special = false;
};

std::vector<AddedToken> parse_added_tokens(const JsonView& list);

// A part of a text: an added token, or text to go on with.
struct AddedPart {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  std::int32_t id = -1;  // -1: text
};

struct ByteRange {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
};
// The bytes of a text in which special tokens count: ranges in order that neither overlap nor
// touch.
using TrustedRanges = std::span<const ByteRange>;
// Those of text[begin, end), counted from `begin`.
std::vector<ByteRange> clip(TrustedRanges ranges, std::uint32_t begin, std::uint32_t end);
bool all_trusted(TrustedRanges ranges, std::size_t size);

class AddedTokens {
 public:
  AddedTokens() = default;
  // Ids are given as Hugging Face `tokenizers` gives them: that of the vocabulary for tokens which
  // it has, else the next free one, in order. `normalizer` may be null.
  AddedTokens(std::vector<AddedToken> tokens, const Vocabulary& vocabulary,
              const Normalizer* normalizer);

  enum class Stage { kOriginal, kNormalized };
  // Cuts `text`; parts are in order and cover it, except for white space that tokens take. Special
  // tokens count where they lie within one trusted range, and are plain text elsewhere; those that
  // lie outside do not hide others that overlap them.
  std::vector<AddedPart> split(Stage stage, std::string_view text, TrustedRanges trusted) const;
  // Whether any special token is looked for at a stage.
  bool has_special(Stage stage) const;

  std::optional<std::int32_t> find(std::string_view content) const;
  const AddedToken* token(std::int32_t id) const;
  // True for a token's text, wherever it stands, that is special.
  bool is_special(std::string_view content) const;
  // Largest id + 1, or 0.
  std::int32_t id_limit() const { return id_limit_; }

 private:
  struct Patterns {
    PatternSet set;
    std::vector<std::int32_t> ids;
    PatternSet plain;                        // those that are not special
    std::vector<std::uint32_t> plain_index;  // into `ids`
  };
  std::vector<PatternSet::Match> matches(const Patterns& patterns, std::string_view text,
                                         TrustedRanges trusted) const;

  std::unordered_map<std::string, std::int32_t> ids_;
  std::unordered_map<std::int32_t, AddedToken> tokens_;
  std::unordered_set<std::string> special_;
  Patterns original_;
  Patterns normalized_;
  std::int32_t id_limit_ = 0;
};

}  // namespace conclave::text
